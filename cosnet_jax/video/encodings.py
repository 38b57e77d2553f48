"""The kinds of video files that are written, opaque and with transparency."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How frames and sound become a video file. The names are FFmpeg's.

    Attributes:
      suffix: of the file's name.
      container: format of the file.
      codec: encoder of the frames.
      pixel_format: of the encoded frames; one with alpha stores colours that are not multiplied by it.
      options: of the encoder.
      has_alpha: whether frames are RGBA instead of RGB.
      even: whether the codec has no odd heights and widths.
      longest_side: most pixels of a side that the encoder takes.
      copied_sound: codecs of sound that players expect in such a file; sound in them is copied as it is.
      sound_codec: encoder for sound in any other codec.
    """

    suffix: str
    container: str
    codec: str
    pixel_format: str
    options: Mapping[str, str]
    has_alpha: bool
    even: bool
    longest_side: int
    copied_sound: frozenset[str]
    sound_codec: str


# None has B-frames or hidden frames: packets come in the order of presentation, and every frame keeps its duration.
MP4 = Encoding(
    ".mp4", "mp4", "libx264", "yuv420p", {"preset": "superfast", "crf": "20", "bf": "0"}, has_alpha=False, even=True,
    longest_side=16_384, copied_sound=frozenset({"aac", "mp3", "ac3", "eac3", "alac"}), sound_codec="aac",
)  # fmt: skip
# The alpha is a second VP9 stream beside each packet; FFmpeg's own decoder of VP9 leaves it out, libvpx-vp9 does not.
WEBM = Encoding(
    ".webm", "webm", "libvpx-vp9", "yuva420p",
    {"deadline": "realtime", "cpu-used": "7", "row-mt": "1", "crf": "24", "b": "0", "auto-alt-ref": "0"},
    has_alpha=True, even=False, longest_side=65_535, copied_sound=frozenset({"opus", "vorbis"}), sound_codec="libopus",
)  # fmt: skip
PRORES = Encoding(
    ".mov", "mov", "prores_ks", "yuva444p10le", {"profile": "4444", "vendor": "apl0"}, has_alpha=True, even=False,
    longest_side=65_535,
    copied_sound=frozenset({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"}),
    sound_codec="pcm_s16le",
)  # fmt: skip
