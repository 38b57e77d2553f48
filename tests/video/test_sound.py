"""Sound beside the frames: copied or encoded, in time, in small pieces."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image
from video_files import BEEPS, beeps_of, encode, encode_with_beeps, make_frames, packets_of

from cosnet_jax.errors import InputError
from cosnet_jax.video.encodings import MP4, PRORES, WEBM
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.sound import sound_of
from cosnet_jax.video.writer import VideoWriter


def carry_over(source, path, encoding):
    """Writes the frames of a video and its sound to another file."""
    video = open_video(source)
    with VideoWriter(path, video.size, video.fps, video.timestamps, encoding, sound_of(video)) as writer:
        for image in video:
            alpha = np.full((*video.size, 1), 255, np.uint8)
            writer.write(np.dstack([image, alpha]) if encoding.has_alpha else image)
    return path


def test_packets_are_copied_where_players_know_the_codec(tmp_path):
    for name, codec, encoding in (("a.mp4", "aac", MP4), ("b.mov", "pcm_s16le", PRORES), ("c.webm", "libopus", WEBM)):
        source = encode_with_beeps(tmp_path / f"source{name}.mkv", make_frames(20), codec)
        copy = carry_over(source, tmp_path / name, encoding)
        found, expected = (b"".join(map(bytes, packets_of(path, "audio"))) for path in (copy, source))
        assert found == expected


@pytest.mark.parametrize("first_frame", [0.0, 0.45])
@pytest.mark.parametrize(
    ("name", "sound", "encoding", "expected"),
    [
        ("a.mp4", "aac", MP4, "aac"),
        ("a.mp4", "flac", MP4, "aac"),
        ("a.mov", "pcm_s16le", PRORES, "pcm_s16le"),
        ("a.mov", "libopus", PRORES, "pcm_s16le"),
        ("a.webm", "aac", WEBM, "opus"),
        ("a.webm", "libopus", WEBM, "opus"),
    ],
)
def test_sound_is_heard_when_it_was(tmp_path, name, sound, encoding, expected, first_frame):
    source = encode_with_beeps(tmp_path / "source.mkv", make_frames(10), sound, first_frame=first_frame)
    path = carry_over(source, tmp_path / name, encoding)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == expected
    shown = np.array([beep for beep in BEEPS if beep[0] > first_frame]) - first_frame
    # Matroska has milliseconds, and AAC and Opus smear a beep by some; a frame of AAC has 23 ms.
    np.testing.assert_allclose(beeps_of(path), shown, atol=6e-3)
    np.testing.assert_allclose(beeps_of(path), beeps_of(source)[-len(shown) :], atol=6e-3)


@pytest.mark.parametrize(("sound", "encoding"), [("aac", MP4), ("aac", WEBM), ("libopus", PRORES)])
def test_sound_ends_with_the_pictures(tmp_path, sound, encoding):
    source = encode_with_beeps(tmp_path / "source.mkv", make_frames(7), sound)  # 0.7 s of pictures, 2 s of sound
    path = carry_over(source, tmp_path / f"a{encoding.suffix}", encoding)
    ends = [float((packet.pts + packet.duration) * packet.time_base) for packet in packets_of(path, "audio")]
    assert 0.6 < max(ends) < 0.7 + 0.065  # packets have up to 60 ms


def test_mono_stays_mono(tmp_path):
    source = encode_with_beeps(tmp_path / "source.mkv", make_frames(5), channels=1)
    with av.open(str(carry_over(source, tmp_path / "a.webm", WEBM))) as container:
        assert container.streams.audio[0].codec_context.layout.nb_channels == 1


@pytest.mark.parametrize(("sound", "encoding"), [("aac", MP4), ("aac", WEBM)])
def test_sound_lies_beside_the_frames_that_it_belongs_to(tmp_path, sound, encoding):
    source = encode_with_beeps(tmp_path / "source.mkv", make_frames(20), sound)
    path = carry_over(source, tmp_path / f"a{encoding.suffix}", encoding)
    latest = {"video": 0.0, "audio": 0.0}
    with av.open(str(path)) as container:
        packets = sorted((packet for packet in container.demux() if packet.size), key=lambda packet: packet.pos)
        for packet in packets:
            latest[packet.stream.type] = float(packet.pts * packet.time_base)
            assert abs(latest["video"] - latest["audio"]) < 0.5


def with_sound_of(source, path, packets):
    """Copies a file with other packets of sound, in `packets`."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        streams = {stream.type: container.add_stream_from_template(stream) for stream in whole.streams}
        found = [packet for packet in whole.demux(video=0) if packet.size] + packets
        for packet in found:
            packet.stream = streams["video" if packet in found[: -len(packets)] else "audio"]
            container.mux(packet)
    return path


def test_a_damaged_packet_is_left_out(tmp_path):
    source = encode_with_beeps(tmp_path / "source.mkv", make_frames(20), "flac")
    packets = packets_of(source, "audio")
    garbage = av.Packet(b"no sound at all")
    garbage.pts, garbage.dts, garbage.time_base = packets[2].pts, packets[2].dts, packets[2].time_base
    damaged = with_sound_of(source, tmp_path / "damaged.mkv", [*packets[:2], garbage, *packets[3:]])
    copy = carry_over(damaged, tmp_path / "a.mp4", MP4)
    np.testing.assert_allclose(beeps_of(copy)[-1], beeps_of(source)[-1], atol=6e-3)


def test_channels_that_change_are_brought_to_one_layout(tmp_path):
    source = encode_with_beeps(tmp_path / "source.mkv", make_frames(20), "ac3")
    other = encode_with_beeps(tmp_path / "other.mkv", make_frames(1), "ac3", channels=1)
    packets = packets_of(source, "audio")[:15] + packets_of(other, "audio")[15:]
    changing = with_sound_of(source, tmp_path / "changing.mkv", packets)
    with av.open(str(changing)) as container:
        assert {frame.layout.name for frame in container.decode(audio=0)} == {"stereo", "mono"}
    copy = carry_over(changing, tmp_path / "a.webm", WEBM)
    np.testing.assert_allclose(beeps_of(copy), beeps_of(source), atol=6e-3)


def test_sound_of_an_unknown_codec_is_left_out(tmp_path):
    source = encode_with_beeps(tmp_path / "source.mkv", make_frames(3))
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    assert sound_of(open_video(source)) is None


def test_images_and_silent_videos_have_no_sound(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", encode(tmp_path / "silent.mkv", make_frames(3))):
        assert sound_of(open_video(path)) is None


def test_a_file_that_is_gone_is_an_error(tmp_path):
    source = encode_with_beeps(tmp_path / "source.mkv", make_frames(3))
    video = open_video(source)
    sound = sound_of(video)
    source.unlink()
    with pytest.raises(InputError, match=r"source\.mkv: its sound cannot be read \(No such file"):
        sound_of(video)
    with pytest.raises(InputError, match=r"source\.mkv: its sound cannot be read \(No such file"):
        VideoWriter(tmp_path / "a.mp4", video.size, 10, sound=sound)
    assert not list(tmp_path.iterdir())
