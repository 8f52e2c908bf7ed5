"""Mutations of small pictures: a seeded stream of bytes that decoders should not survive, but have to."""

from __future__ import annotations

import argparse
import io
import random
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from lookalike import config
from lookalike.failures import REASONS, ImageError
from lookalike.images import formats
from lookalike.images.decoder import Decoder

SIZE = 16
LIMITS = config.ImageSettings(max_pixels=4_000_000, max_decoded_bytes=32 << 20, decode_timeout=10)


def noise(width: int, height: int, seed: int = 5) -> Image.Image:
    """Pixels that compress badly: there is always something left to damage."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of `kind`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corpus() -> list[bytes]:
    """A picture of each kind that takes its own way through the decoders."""
    formats.readable()  # HEIC among them
    picture, other = noise(40, 30), noise(40, 30, seed=6)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 257)
    return [
        encoded(picture, "JPEG", exif=exif),
        encoded(picture, "JPEG", progressive=True),
        encoded(picture.convert("CMYK"), "JPEG"),
        encoded(picture, "PNG"),
        encoded(picture.convert("P"), "PNG", transparency=1),
        encoded(picture.convert("RGBA"), "PNG", exif=exif),
        encoded(deep, "PNG"),
        encoded(picture, "PNG", save_all=True, append_images=[other]),
        encoded(picture, "GIF", save_all=True, append_images=[other]),
        encoded(picture, "WEBP"),
        encoded(picture, "WEBP", lossless=True, exif=exif),
        encoded(picture, "WEBP", save_all=True, append_images=[other]),
        encoded(picture, "BMP"),
        encoded(picture.convert("1"), "BMP"),
        encoded(picture, "TIFF"),
        *(encoded(picture, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
        encoded(deep, "TIFF"),
        encoded(Image.fromarray(np.asarray(picture)[..., 0].astype(np.float32)), "TIFF"),
        encoded(picture, "AVIF"),
        encoded(picture, "AVIF", save_all=True, append_images=[other]),
        encoded(picture, "HEIF"),
        encoded(picture.convert("RGBA"), "HEIF", exif=exif),
    ]


def flipped(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """A few bits, most of them at the front, where parsers trip."""
    reach = min(rng.choice([32, 64, 400, len(data)]), len(data))
    for _number in range(rng.randint(1, 8)):
        data[rng.randrange(reach)] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """Without its end."""
    del data[rng.randrange(len(data)) :]


def lying(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """A number of the header that is huge, zero, negative or one off."""
    width = rng.choice([1, 2, 4])
    at = rng.randrange(min(len(data) - 4, 200))
    value = rng.choice([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]) & ((1 << 8 * width) - 1)
    data[at : at + width] = value.to_bytes(width, rng.choice(["little", "big"]))


def claiming(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """A PNG whose checksums are right, so that its lies are believed."""
    if data[:4] != b"\x89PNG" or len(data) < 33:
        return lying(data, rng, _)
    header = bytearray(data[12:29])
    header[4 + rng.randrange(13)] = rng.randrange(256)
    data[12:33] = header + struct.pack(">I", zlib.crc32(header))
    return None


def spliced(data: bytearray, rng: random.Random, whole: list[bytes]) -> None:
    """Another picture's bytes in its middle."""
    other = rng.choice(whole)
    start, at = rng.randrange(len(other)), rng.randrange(len(data))
    length = rng.randint(1, 300)
    data[at : at + rng.choice([0, length])] = other[start : start + length]


def disguised(data: bytearray, rng: random.Random, whole: list[bytes]) -> None:
    """The header of one format on the body of another."""
    front = rng.choice([4, 12, 16, 40])
    data[:front] = rng.choice(whole)[:front]


def repeated(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """A stretch of it many times over."""
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randint(1, 64)] * rng.randint(1, 200)


MUTATIONS: tuple[Callable[[bytearray, random.Random, list[bytes]], None], ...] = (
    flipped,
    flipped,
    cut,
    lying,
    claiming,
    spliced,
    disguised,
    repeated,
)


def mutated(rng: random.Random, whole: list[bytes]) -> bytes:
    """One case: up to three mutations of a picture."""
    data = bytearray(rng.choice(whole))
    for _ in range(rng.choice([1, 1, 2, 3])):
        if len(data) > 8:
            rng.choice(MUTATIONS)(data, rng, whole)
    return bytes(data)


def run(decoder: Decoder, seed: int, cases: int) -> Counter[str]:
    """How many cases ended how; raises AssertionError for an end that there must not be, with the case's number."""
    rng, whole = random.Random(seed), corpus()
    ends: Counter[str] = Counter()
    for number in range(cases):
        data = mutated(rng, whole)
        end = _end(decoder, data)
        assert end == "picture" or end in REASONS, f"seed {seed}, case {number}: {end}"
        ends[end] += 1
    return ends


def _end(decoder: Decoder, data: bytes) -> str:
    """`picture`, a reason, or what is wrong with either."""
    try:
        pixels = decoder.decode(data, SIZE, LIMITS).pixels
    except ImageError as error:
        return error.reason if len(error.detail.splitlines()) == 1 else f"not one line: {error.detail!r}"
    return "picture" if (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8) else f"pixels {pixels.shape}"


def main() -> None:
    """`make fuzz`."""
    parser = argparse.ArgumentParser(description="decode damaged pictures and count how that ends")
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.cases:,} cases", flush=True)
    decoder = Decoder()
    try:
        ends = run(decoder, options.seed, options.cases)
    finally:
        decoder.close()
    for end, count in ends.most_common():
        print(f"{count:>8,}  {end}")
    # A crash or a hang hurts no run, but is a defect of a library that its authors want to hear of.
    sys.exit(bool(ends["decoder_crashed"] or ends["decode_timeout"]))


if __name__ == "__main__":
    main()
