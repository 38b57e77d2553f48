"""Media and texts that once ended in a traceback or took all memory. Each case is one that the harness found."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from faults.media import rotated, write_sound
from faults.mutations import with_checksums
from memory_sequence import MemorySequence
from PIL import Image
from raw_datasets import make_davis
from video_files import encode, encode_with_beeps, make_frames

from configs import synthetic
from cosnet_jax.config import read_config
from cosnet_jax.data.builders.base import Frame
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.builders.fbms import Fbms
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.predictions import check_predictions, read_masks
from cosnet_jax.evaluation.protocols import get_protocol
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video import decoding
from cosnet_jax.video.encodings import MP4, PRORES, WEBM
from cosnet_jax.video.image_header import JPEG_START, MAX_PIXELS, MAX_SCANS, image_size
from cosnet_jax.video.images import decode_image, decode_mask, is_truncated
from cosnet_jax.video.mp4_tables import check_sample_tables
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.writer import VideoWriter
from tests.data.builders.test_fbms import make_grey_sequence

CORPUS = Path(__file__).parent / "corpus"


# Images


def png_of(width: int, height: int) -> bytes:
    """A whole PNG of few bytes whose header claims a size."""
    encoded = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    struct.pack_into(">II", encoded, 16, width, height)
    return with_checksums(bytes(encoded))


@pytest.mark.parametrize("size", [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (MAX_PIXELS + 1, 1)])
def test_an_image_that_claims_too_many_pixels_is_named(tmp_path, size):
    """30,000 x 30,000 pixels are fewer than OpenCV's limit: it took 2.7 GB for a file of 80 bytes."""
    path = tmp_path / "a.png"
    path.write_bytes(png_of(*size))
    with pytest.raises(InputError, match=rf"a.png: {size[0]} x {size[1]} pixels; images of up to 67,108,864 pixels"):
        open_video(path)
    assert decode_image(path.read_bytes()) is None
    assert decode_mask(path.read_bytes(), 127) is None
    with pytest.raises(InputError, match="not a readable PNG"):
        read_masks([path])


def test_an_image_without_pixels_is_not_readable(tmp_path):
    (tmp_path / "a.png").write_bytes(png_of(0, 0))
    with pytest.raises(InputError, match="not a readable image"):
        open_video(tmp_path / "a.png")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "WEBP", "PPM"])
def test_sizes_are_read_from_the_headers_of_all_formats(format):
    encoded = io.BytesIO()
    Image.new("RGB", (123, 45), (9, 200, 30)).save(encoded, format)
    assert image_size(encoded.getvalue()) == (45, 123)
    assert decode_image(encoded.getvalue()).shape == (45, 123, 3)
    assert image_size(encoded.getvalue()[:9]) is None


@pytest.mark.parametrize(("mode", "options"), [("RGB", {"lossless": True}), ("RGBA", {}), ("RGBA", {"lossless": True})])
def test_sizes_of_all_kinds_of_webp(mode, options):
    encoded = io.BytesIO()
    Image.new(mode, (123, 45), 77).save(encoded, "WEBP", **options)
    assert image_size(encoded.getvalue()) == (45, 123)


def test_decoders_of_other_formats_do_not_get_to_see_a_file():
    encoded = cv2.imencode(".tiff", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    assert cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) is not None
    assert decode_image(encoded) is None


def bmp_header(header_bytes: int, size: bytes) -> bytes:
    return b"BM" + struct.pack("<IIII", 0, 0, 14 + header_bytes, header_bytes) + size + bytes(header_bytes)


def test_the_size_of_a_bmp_is_read_as_opencv_reads_it():
    """A header of 268 = 256 + 12 bytes was taken for one of 12; then 65600 x 4000 pixels passed as 64 x 1."""
    assert image_size(bmp_header(268, struct.pack("<ii", 65_600, 4000))) == (4000, 65_600)
    assert image_size(bmp_header(12, struct.pack("<HH", 65, 40))) == (40, 65)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"P5\n#\r30 20 255\n1 1 255\n", (20, 30)),  # passed as 1 x 1
        (b"P5\n30#20\n1 255\n", None),  # passed as 30 x 1
        (b"P5 # one\r\n# two\n30\n#three\n20 255\n", (20, 30)),
    ],
)
def test_comments_of_a_pnm_hide_no_size(header, size):
    image = cv2.imdecode(np.frombuffer(header + bytes(600), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (20, 30)
    assert image_size(header) == size


def test_a_pnm_of_spaces_takes_little_memory():
    """The match of 16 MiB took a GB."""
    assert image_size(b"P5" + b" " * 2**24 + b"1 1 255\n") is None


def test_fill_bytes_of_a_jpeg_take_linear_time():
    """Each of them was taken for the start of a marker, so 16 MiB took days."""
    data = JPEG_START + b"\xff" * 2**24 + b"\x00"
    assert image_size(data) is None
    assert is_truncated(data)
    encoded = cv2.imencode(".jpg", np.zeros((8, 16, 3), np.uint8))[1].tobytes()
    assert image_size(JPEG_START + b"\xff" * 9 + encoded[2:]) == (8, 16)


def test_a_jpeg_of_very_many_scans_is_not_decoded():
    """Each scan goes over all pixels: some hundred of them, of 20 KB each, took minutes at the largest size."""
    encoded = io.BytesIO()
    Image.new("L", (64, 64), 99).save(encoded, "JPEG", progressive=True)
    data = encoded.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    scans = data.count(b"\xff\xda")
    assert decode_image(data[:-2] + last * (MAX_SCANS - scans) + data[-2:]) is not None
    assert decode_image(data[:-2] + last * (MAX_SCANS - scans + 1) + data[-2:]) is None


def test_every_16_bit_level_becomes_the_nearest_8_bit_one(tmp_path):
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    (frame,) = open_video(tmp_path / "a.png")
    np.testing.assert_array_equal(frame[..., 0], (levels.astype(np.int64) + 128) // 257)


@pytest.mark.slow
def test_the_largest_images_take_bounded_memory(tmp_path):
    """A 16-bit image with transparency took 3 GB when it was scaled to 8 bits and composited in one piece."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8192, 8192, 4), np.uint16))
    program = (
        "import sys; from cosnet_jax.video.reader import open_video; frame, = open_video(sys.argv[1]); "
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.png"], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 1536 * 1024


def test_a_chunk_of_a_png_that_claims_gigabytes_is_refused(tmp_path):
    """OpenCV took 2 to 4 GB for a file of 153 bytes, which ends as a whole PNG does."""
    data = bytearray(png_of(4, 4))
    struct.pack_into(">I", data, data.index(b"IDAT") - 4, 0xFFFF0028)
    (tmp_path / "a.png").write_bytes(data)
    program = (
        "import sys; from cosnet_jax.evaluation.predictions import read_masks\n"
        "try: read_masks(sys.argv[1:])\nexcept ValueError as error: print(error)\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.png"], capture_output=True, text=True, check=True
    )
    message, peak = run.stdout.splitlines()
    assert message.endswith("a.png: not a readable PNG image; write it again")
    assert int(peak) < 1024 * 1024


# Videos


def test_a_gif_that_claims_too_many_pixels_is_refused(tmp_path):
    """FFmpeg decoded 15,000 x 15,000 pixels of a file of 10 KB: 3.9 GB and minutes."""
    data = bytearray(encode(tmp_path / "a.gif", make_frames(3), "gif", "rgb8").read_bytes())
    struct.pack_into("<HH", data, 6, 15_000, 15_000)
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(InputError, match="damaged or truncated after 0 frames"):
        open_video(tmp_path / "a.gif")


def test_a_video_of_too_many_pixels_is_named(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", make_frames(2), "libx264", "yuv420p")
    monkeypatch.setattr(decoding, "MAX_VIDEO_PIXELS", 66 * 48 - 1)
    with pytest.raises(InputError, match=r"a.mp4: 66 x 48 pixels; videos of up to 3,167 pixels are read"):
        open_video(path)


@pytest.mark.parametrize(("size", "threads"), [((4096, 4096), "AUTO"), ((4096, 4112), "SLICE")])
def test_the_largest_frames_are_not_decoded_in_parallel(tmp_path, size, threads):
    """16 threads held 40 frames of a video, 3 GB at the largest size."""
    path = encode(tmp_path / "a.mp4", [np.zeros((*size, 3), np.uint8)], "libx264", "yuv420p", preset="ultrafast")
    with decoding.opened(path) as (_, stream):
        assert stream.thread_type.name == threads


@pytest.mark.parametrize("size", [1, 0x7FFFFFFF])
def test_an_mp4_that_declares_millions_of_frames_is_refused(tmp_path, size):
    """A table of 20 bytes made FFmpeg take 3.5 GB."""
    path = encode(tmp_path / "a.mp4", make_frames(3), "libx264", "yuv420p")
    check_sample_tables(path)
    path.write_bytes(declaring(path.read_bytes(), 50_000_000, size))
    with pytest.raises(InputError, match="declares more frames than it has bytes"):
        open_video(path)


def declaring(data: bytes, count: int, size: int = 1) -> bytes:
    """Makes the first track of an mp4 declare so many samples of one size."""
    start = data.index(b"stsz") + 8
    return data[:start] + struct.pack(">II", size, count) + data[start + 8 :]


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def moov_of(data: bytes) -> tuple[int, int]:
    """Where the header of an mp4 starts and ends."""
    start = data.index(b"moov") - 4
    return start, start + struct.unpack_from(">I", data, start)[0]


@pytest.mark.parametrize("trick", ["a name that is no text", "a name in another box", "a compressed header", "tracks"])
def test_an_mp4_does_not_hide_how_many_frames_it_declares(tmp_path, trick):
    path = tmp_path / "a.mp4"
    whole = encode(path, make_frames(3), "libx264", "yuv420p").read_bytes()
    data, (start, end) = declaring(whole, 50_000_000), moov_of(whole)
    if trick == "a name that is no text":
        data = box(b"\xa9abc") + data
    elif trick == "a name in another box":  # its bytes were taken for the table that follows it
        data = data.replace(data[(at := data.index(b"stsz") - 4) : at + 4], box(b"free", b"stsz") + data[at : at + 4])
    elif trick == "a compressed header":
        header = zlib.compress(data[start:end])
        cmvd = box(b"cmvd", struct.pack(">I", end - start) + header)
        data = data[:start] + box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + cmvd)) + data[end:]
    else:  # each of which could be true alone
        data = declaring(whole, len(whole) * 2 // 3)
        track = (at := data.index(b"trak") - 4), at + struct.unpack_from(">I", data, at)[0]
        path.write_bytes(data)
        check_sample_tables(path)
        data = data[:start] + box(b"moov", data[start + 8 : end] + 2 * data[slice(*track)]) + data[end:]
    path.write_bytes(data)
    with pytest.raises(
        InputError, match=r"declares more frames than it has bytes|its header is compressed; convert it"
    ):
        open_video(path)


def test_chunks_of_impossibly_many_samples_are_refused(tmp_path):
    """A file of 8 KB made FFmpeg take 190 MB, and as much for each further chunk of its sound."""
    path = encode_with_beeps(tmp_path / "a.mov", make_frames(2), sound_codec="pcm_s16le")
    check_sample_tables(path)
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.rindex(b"stsc") + 16, 2**31 - 1)
    path.write_bytes(data)
    with pytest.raises(InputError, match="declares more frames than it has bytes"):
        open_video(path)


def test_other_formats_may_hold_the_names_of_such_tables(tmp_path):
    path = encode(tmp_path / "a.mkv", make_frames(3))
    path.write_bytes(path.read_bytes() + b"moovstsz" + b"\xff" * 20)
    check_sample_tables(path)


def test_a_fragment_that_declares_millions_of_frames_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    options = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 66, "yuv420p"
        for image in make_frames(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    assert len(open_video(path)) == 3
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(b"trun") + 8, 2**31)
    path.write_bytes(data)
    with pytest.raises(InputError, match="declares more frames than it has bytes"):
        open_video(path)


def test_a_stream_whose_packets_have_no_time_is_refused():
    """Times of None were compared."""
    with pytest.raises(InputError, match=r"\.ts: "):
        open_video(CORPUS / "no_packet.ts")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile other.ts\n",
    ],
)
def test_a_playlist_does_not_show_other_files(tmp_path, text):
    """FFmpeg reads the files that it names, by any absolute path."""
    other = encode(tmp_path / "other.ts", make_frames(3), "mpeg2video", "yuv420p")
    path = tmp_path / "a.m3u8"
    path.write_text(text.format(other=other))
    with pytest.raises(InputError, match=r"a.m3u8: a playlist of other files; expected a video file"):
        open_video(path)


def test_a_file_with_sound_alone_is_no_video(tmp_path):
    write_sound(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="there is no video in this file"):
        open_video(tmp_path / "a.mp4")


def test_a_video_whose_size_changes_is_named(tmp_path):
    first = encode(tmp_path / "a.ts", make_frames(3), "libx264", "yuv420p").read_bytes()
    second = encode(tmp_path / "b.ts", make_frames(3, 32, 48), "libx264", "yuv420p").read_bytes()
    (tmp_path / "a.ts").write_bytes(first + second)
    with pytest.raises(InputError, match=r"48 x 32 pixels, but the first frame has 66 x 48|damaged|truncated"):
        list(open_video(tmp_path / "a.ts"))


def test_a_rotation_that_is_no_quarter_turn_still_gives_frames_of_one_size(tmp_path):
    data = rotated(encode(tmp_path / "a.mp4", make_frames(2), "libx264", "yuv420p").read_bytes())
    start = data.index(b"tkhd") + 44
    (tmp_path / "a.mp4").write_bytes(
        data[:start] + struct.pack(">5i", 30_000, 40_000, 0, -40_000, 30_000) + data[start + 20 :]
    )
    video = open_video(tmp_path / "a.mp4")
    assert {frame.shape[:2] for frame in video} == {video.size}


@pytest.mark.parametrize(("seconds", "fps"), [(3000, Fraction(1, 1000)), (Fraction(1, 2500), 1000)])
def test_a_rate_that_no_encoder_takes_is_bounded_and_times_are_kept(tmp_path, seconds, fps):
    """A frame in 3000 s gave a rate of 0, and a division by it."""
    path, ticks = tmp_path / "a.mov", [round(number * seconds * 10_000) for number in range(3)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=10_000)
        stream.height, stream.width, stream.pix_fmt = 8, 8, "gray"
        for tick in ticks:
            packet = av.Packet(bytes(64))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, tick, tick, Fraction(1, 10_000)
            container.mux(packet)
    video = open_video(path)
    assert (video.fps, video.timestamps) == (fps, tuple(tick / 10_000 for tick in ticks))
    with VideoWriter(tmp_path / "b.mp4", video.size, video.fps, video.timestamps) as writer:
        for image in video:
            writer.write(image)
    assert open_video(tmp_path / "b.mp4").timestamps == pytest.approx(video.timestamps, abs=1e-4)


def test_frames_that_lie_too_far_apart_for_a_video_file_are_named(tmp_path):
    """The clock of an mp4 ended in a traceback, after all frames were made."""
    with pytest.raises(InputError, match=r"a.mp4: frames lie up to 24,000 s apart; expected at most 20,000 s"):
        VideoWriter(tmp_path / "a.mp4", (8, 8), Fraction(1, 1000), [0.0, 1.0, 24_001.0])


@pytest.mark.parametrize(("encoding", "side"), [(MP4, 16_384), (WEBM, 65_535), (PRORES, 65_535)])
def test_frames_too_large_for_an_encoder_are_named(tmp_path, encoding, side):
    """A panorama of 20000 x 16 pixels ended in a traceback, and its temporary file stayed."""
    path = tmp_path / f"a{encoding.suffix}"
    with pytest.raises(InputError, match=rf"frames of {side + 1} x 2 pixels; .* at most {side:,} a side"):
        VideoWriter(path, (2, side + 1), 25, encoding=encoding)
    assert not list(tmp_path.iterdir())
    if encoding is not WEBM:  # its encoder takes many seconds for so long a row
        with VideoWriter(path, (2, side), 25, encoding=encoding) as writer:
            writer.write(np.zeros((2, side, 3 + encoding.has_alpha), np.uint8))
        assert len(open_video(path)) == 1


def test_frames_far_larger_than_the_input_are_refused_before_anything_is_compiled():
    """The resize of 20000 pixels to 33 took two minutes to compile."""
    segmenter = Segmenter.from_config(synthetic.get_config("smoke"), {}, size=(33, 33))
    with pytest.raises(
        InputError, match=r"frames of 20000 x 64 pixels .* of 33 x 33; expected at most 64 times as many"
    ):
        segmenter.segment(np.zeros((2, 64, 20_000, 3), np.uint8))


@pytest.mark.parametrize("call", ["av.open", "cosnet_jax.video.writer.VideoWriter._encode"])
def test_errors_of_ffmpeg_while_writing_name_the_file_and_leave_nothing(tmp_path, monkeypatch, call):
    """Encoders, and muxers of damaged sound, raise errors that are no OSError."""

    def fail(*arguments, **options):
        raise av.error.ArgumentError(22, "Invalid argument")

    monkeypatch.setattr(call, fail)
    with (
        pytest.raises(InputError, match=r"a.mp4: cannot be written \(Invalid argument\)"),
        VideoWriter(tmp_path / "a.mp4", (8, 8), 25) as writer,
    ):
        writer.write(np.zeros((8, 8, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("codec", "pix_fmt"), [("mjpeg", "yuvj420p"), ("mpeg2video", "yuv420p")])
def test_a_video_of_too_many_frames_is_refused_before_all_are_read(tmp_path, monkeypatch, codec, pix_fmt):
    """A file of 13 MB had so many frames that it took 1.5 GB. The frames of MPEG-2 are counted by decoding."""
    path = encode(tmp_path / "a.mkv", make_frames(60), codec, pix_fmt)
    assert len(open_video(path, most_frames=60)) == 60
    read = []
    decode_packet = decoding._decode_packet
    monkeypatch.setattr(decoding, "_decode_packet", lambda *arguments: (read.append(1), decode_packet(*arguments)))
    with pytest.raises(InputError, match=r"a.mkv: more than 5 frames; split the video into parts"):
        open_video(path, most_frames=5)
    assert len(read) < 30


# Listings and settings


def test_named_pipes_are_not_read(tmp_path):
    """Opening one waits for ever."""
    folder = tmp_path / "bear"
    folder.mkdir()
    os.mkfifo(folder / "0.jpg")
    with pytest.raises(InputError, match=r"0.jpg: not an image file; remove it"):
        open_video(folder)
    (problem,) = Davis16.check_frame(Frame("bear", "0", folder / "0.jpg", None))
    assert problem.endswith("0.jpg is not a file: expected a jpg image")
    os.mkfifo(folder / "00001.png")
    with pytest.raises(InputError, match=r"00001.png: predicted mask is missing"):
        check_predictions(tmp_path, [MemorySequence("bear", [np.zeros((4, 4), bool)] * 3)], get_protocol("davis16"))
    sequence = make_grey_sequence(tmp_path / "Testset" / "bear01", with_definition=False)
    os.mkfifo(next(sequence.glob("**/*.pgm")).with_name("a.dat"))
    assert Fbms.scan(tmp_path).problems == []


def test_labels_of_fbms_at_the_largest_size_take_bounded_memory(tmp_path):
    """Three channels of 16 bits took 2.3 GB."""
    channels = np.zeros((512, 512, 3), np.uint16)
    channels[0, :3] = [(1, 2, 3), (255, 255, 255), (0, 256, 0)]
    cv2.imwrite(str(tmp_path / "a.ppm"), channels)
    tracemalloc.start()
    mask = Fbms.read_mask(tmp_path / "a.ppm")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not mask[0, 1]  # white is background
    assert mask[0, [0, 2, 3]].all()
    assert peak < 13 * 512 * 512  # while it is decoded, twice the file's 6 bytes a pixel


@pytest.mark.parametrize("number", ["1" * 5000, "²", "-1"])
def test_numbers_in_a_definition_of_fbms_can_be_anything(tmp_path, number):
    """Python refuses to read 5000 digits, and takes more for digits than it can read."""
    make_grey_sequence(tmp_path / "Testset" / "bear01", with_definition=True)
    path = next(tmp_path.glob("**/*.dat"))
    text = path.read_text(encoding="utf-8")
    for title in ("Scale of region 0:", "Frame number:"):
        start = text.index(title) + len(title)
        text = f"{text[:start]}\n{number}{text[text.index(chr(10), start + 2) :]}"
    path.write_text(text, encoding="utf-8")
    Fbms.scan(tmp_path)
    Fbms.read_mask(next(tmp_path.glob("**/*.pgm")))


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe /a",
        b"/JPEGImages/480p/" + b"x" * 300 + b"/0.jpg /a/" + b"x" * 300 + b"/0.png",
        b"/a\0/0.jpg /a\0/0.png",
    ],
)
def test_listings_of_davis_can_hold_any_bytes(tmp_path, line):
    source = make_davis(tmp_path, {"bear": 1}, {"camel": 1})
    (source / "ImageSets" / "480p" / "val.txt").write_bytes(line)
    assert Davis16.scan(source).problems


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
@pytest.mark.parametrize(
    "override",
    ["--config.size=os.system", "--config.size=-1-", "--config.=1", "--config.model[]x=1", "--config.stopped\0=7",
     "--config.optimizer.learning_rate=" + "[" * 20_000, "--1config\r\n=2", "--config.2.x=1", "--config.name=\udcff\n"],
)  # fmt: skip
def test_overrides_end_in_one_line(override):
    try:
        read_config("configs/synthetic.py", [override])
    except InputError as error:
        assert "\n" not in str(error)
