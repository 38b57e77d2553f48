"""Damages files: seeded changes of bytes, of the entries of archives, and of words in texts."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence

PNG_START = b"\x89PNG\r\n\x1a\n"
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 30_000, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
WORDS = (
    *b'-1 0 1 2 1e999 -1e999 NaN Infinity null true false {} [] "" "a" [1] {"a":1} 99999999999999999999'.split(),
    *(b"1" * 5000, b"[" * 20_000, b'{"a":' * 5000, b"..", b"/", b"../../etc/passwd", b"\0", b"\n", b"\r\n", b" ", b""),
    *(b"\xff\xfe", "é😀".encode(), b"<script>alert(1)</script>", b"%s%n", b"None", b"(1,)", b"x" * 300),
)  # fmt: skip


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Damages a file once to four times. A PNG gets right checksums again in half of the cases, so that its damage
    reaches the decoder; an archive is damaged within one of its entries in half of the cases, for the same reason.

    Args:
      data: the file's bytes.
      others: files of the same kind, to splice with.
      rng: source of randomness.
    """
    if data.startswith(b"PK") and rng.random() < 0.5:
        return _mutate_entry(data, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(BYTE_MUTATORS)(data, others, rng)
    return with_checksums(data) if data.startswith(PNG_START) and rng.random() < 0.5 else data


def mutate_text(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Damages a text: mostly replaces, repeats or drops whole words, sometimes changes bytes as `mutate`."""
    if rng.random() < 0.2:
        return mutate(data, others, rng)
    words = re.findall(rb"\w+|\s+|[^\w\s]", data) or [b""]
    for _ in range(rng.choice((1, 1, 2, 4))):
        position = rng.randrange(len(words))
        words[position] = rng.choice((rng.choice(WORDS), rng.choice(words), b"", words[position] * 2))
    return b"".join(words)


def _flip(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_header(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    return _flip(data[:64], others, rng) + data[64:]


def _set_number(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("big", "little"))
    start = rng.randrange(max(min(len(data), rng.choice((64, 1024, len(data)))) - size, 0) + 1)
    number = rng.choice(NUMBERS) % 2 ** (8 * size)
    return data[:start] + number.to_bytes(size, order) + data[start + size :]


def _truncate(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 256))
    return data[:start] + data[start + length :]


def _repeat(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data) + 1), rng.choice((1, 4, 16, 256))
    return data[: start + length] + data[start : start + length] * rng.choice((1, 1, 3, 50)) + data[start + length :]


def _insert(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.choice((rng.choice(WORDS), rng.randbytes(rng.randrange(1, 40)))) + data[start:]


def _splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


BYTE_MUTATORS = (_flip, _flip, _flip_header, _set_number, _set_number, _truncate, _drop, _repeat, _insert, _splice)


def with_checksums(png: bytes) -> bytes:
    """Gives every chunk of a PNG the checksum of its contents."""
    changed, position = bytearray(png), len(PNG_START)
    while position + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, position)
        end = position + 8 + length
        if end + 4 > len(png):
            break
        struct.pack_into(">I", changed, end, zlib.crc32(png[position + 4 : end]))
        position = end + 4
    return bytes(changed)


def _mutate_entry(archive: bytes, rng: random.Random) -> bytes:
    """Damages, renames or drops one entry of a zip file and writes the file anew, with right checksums."""
    with zipfile.ZipFile(io.BytesIO(archive)) as stored:
        entries = [(entry.filename, stored.read(entry), entry.compress_type) for entry in stored.infolist()]
    chosen, result = rng.randrange(len(entries)), io.BytesIO()
    contents = [data for _, data, _ in entries]
    with zipfile.ZipFile(result, "w") as written:
        for number, (name, data, compression) in enumerate(entries):
            if number == chosen:
                way = rng.random()
                if way < 0.1:
                    continue
                if way < 0.2:
                    name = rng.choice(
                        ("../../outside", "/outside", "a" * 300, name + "/x", rng.choice(entries)[0] + "2")
                    )
                else:
                    mutator = mutate_text if b"{" in data[:300] and rng.random() < 0.7 else mutate
                    data = mutator(data, contents, rng)
                compression = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, compression))
            written.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return result.getvalue()
