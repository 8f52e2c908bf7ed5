"""Colours: profiles, ink and LAB end as the sRGB that a person would see."""

from __future__ import annotations

import io
import struct
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from lookalike import config
from lookalike.images import colour
from lookalike.images.decode import decode
from lookalike.images.formats import PROFILE_BYTES

LIMITS = config.ImageSettings(resize="stretch")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
RED, GREY = (200, 30, 40), (120, 120, 120)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def wide() -> bytes:
    """A profile whose primaries are those of Display P3: sRGB's own, with other columns in its matrix."""
    data = bytearray(SRGB.tobytes())
    columns = {b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189)}
    columns[b"bXYZ"] = (0.15710, 0.06657, 0.78407)
    tags = int.from_bytes(data[128:132], "big")
    for tag in range(tags):
        entry = 132 + 12 * tag
        name, offset = bytes(data[entry : entry + 4]), int.from_bytes(data[entry + 4 : entry + 8], "big")
        if name in columns:
            fixed = b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in columns[name])
            data[offset + 8 : offset + 20] = fixed
    return bytes(data)


def colour_of(data: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """Of a picture of one colour."""
    picture = decode(data, 8, LIMITS)
    assert np.ptp(picture.pixels.reshape(-1, 3), axis=0).max() <= 2
    return picture.pixels[4, 4].astype(int), picture.fixes


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_wide_profile_is_converted(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    flat = Image.new("RGB", (20, 20), RED)
    colour, fixes = colour_of(encoded(flat, kind, icc_profile=wide(), **options))
    assert fixes == ("profile_converted",)
    assert colour[0] > RED[0] + 10  # the same numbers are a stronger red in the wider space
    assert colour[1] < RED[1]
    grey, _ = colour_of(encoded(Image.new("RGB", (20, 20), GREY), kind, icc_profile=wide(), **options))
    assert np.abs(grey - 120).max() <= 2


def test_wide_profile_is_converted_beneath_what_is_transparent() -> None:
    flat = Image.new("RGBA", (20, 20), (*RED, 128))
    colour, fixes = colour_of(encoded(flat, "PNG", icc_profile=wide()))
    plain, _ = colour_of(encoded(flat, "PNG"))
    assert fixes == ("alpha_flattened", "profile_converted")
    assert colour[0] > plain[0]
    white, _ = colour_of(encoded(Image.new("RGBA", (20, 20), (*RED, 0)), "PNG", icc_profile=wide()))
    assert (white == 255).all()


def test_srgb_profile_changes_no_pixel() -> None:
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(0, 256, (30, 30, 3), dtype=np.uint8))
    plain, tagged = (decode(encoded(image, "PNG", **kind), 8, LIMITS) for kind in ({}, {"icc_profile": SRGB.tobytes()}))
    np.testing.assert_array_equal(tagged.pixels, plain.pixels)
    assert tagged.fixes == ()


@pytest.mark.parametrize("profile", [b"no profile", SRGB.tobytes()[:200], bytes(500), wide()[:-300]])
@pytest.mark.parametrize("mode", ["RGB", "CMYK", "RGBA"])
def test_broken_profile_is_no_obstacle(profile: bytes, mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    flat = Image.new("RGB", (20, 20), RED).convert(mode)
    plain, _ = colour_of(encoded(flat, kind))
    colour, _ = colour_of(encoded(flat, kind, icc_profile=profile))
    assert np.abs(colour - plain).max() <= 90


def test_profile_that_is_none_is_said_to_be_ignored() -> None:
    _, fixes = colour_of(encoded(Image.new("RGB", (9, 9), RED), "PNG", icc_profile=b"no profile at all" * 20))
    assert fixes == ("profile_ignored",)


def test_profile_of_another_kind_of_picture_is_left_alone() -> None:
    grey = Image.new("L", (20, 20), 99)
    colour, fixes = colour_of(encoded(grey, "PNG", icc_profile=wide()))
    assert fixes == ("grey_expanded",)
    assert (colour == 99).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_ink_without_a_profile_is_converted_plainly(kind: str) -> None:
    """Pillow writes Adobe's inverted JPEG, and reads it back."""
    colour, fixes = colour_of(encoded(Image.new("RGB", (20, 20), RED).convert("CMYK"), kind))
    assert fixes == ("cmyk_converted",)
    assert np.abs(colour - RED).max() <= 6


def test_lab_becomes_the_colour_it_stands_for() -> None:
    lab = ImageCms.applyTransform(
        Image.new("RGB", (20, 20), RED),
        ImageCms.buildTransform(SRGB, ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    colour, fixes = colour_of(encoded(lab, "TIFF"))
    assert fixes == ("colour_space_converted",)
    assert np.abs(colour - RED).max() <= 3


def test_transform_is_made_once_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    genuine = colour._built
    monkeypatch.setattr(colour, "_transforms", OrderedDict())
    monkeypatch.setattr(colour, "_built", lambda data, mode: made.append(mode) or genuine(data, mode))
    for _ in range(3):
        colour_of(encoded(Image.new("RGB", (9, 9), RED), "PNG", icc_profile=wide()))
    assert made == ["RGB"]


def test_cache_of_transforms_keeps_no_profile_and_does_not_grow() -> None:
    for number in range(colour.MOST_TRANSFORMS + 5):
        colour_of(encoded(Image.new("RGB", (9, 9), RED), "TIFF", icc_profile=bytes([number]) * 500_000))
    assert len(colour._transforms) == colour.MOST_TRANSFORMS
    assert not any(isinstance(part, bytes) for key in colour._transforms for part in key)


def test_profile_too_long_to_be_used_is_ignored_in_every_format() -> None:
    long = wide() + bytes(PROFILE_BYTES)
    for kind in ("PNG", "TIFF", "WEBP", "AVIF"):
        colour, fixes = colour_of(encoded(Image.new("RGB", (20, 20), GREY), kind, icc_profile=long))
        assert fixes == ("profile_ignored",)
        assert np.abs(colour - GREY).max() <= 3


def grey_profile(gamma: float) -> bytes:
    """A profile of grey with a curve of one exponent."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    start = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2) + b"kTRC" + struct.pack(">II", start, 14)
    tags += b"wtpt" + struct.pack(">II", start + len(curve), len(white))
    header = struct.pack(">I", start + len(curve) + len(white)) + bytes(4) + b"\x02\x40\0\0mntrGRAYXYZ " + bytes(12)
    header += b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + curve + white


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "PNG"), ("L", "JPEG"), ("L", "TIFF"), ("LA", "PNG"), ("I;16", "PNG"), ("1", "PNG")]
)
def test_profile_of_grey_is_converted(mode: str, kind: str) -> None:
    level = 90
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 20), level * 257, np.uint16))
    else:
        image = Image.new("L", (20, 20), 255 if mode == "1" else level).convert(mode)
    colour, fixes = colour_of(encoded(image, kind, icc_profile=grey_profile(1.0)))
    linear = 255 if mode == "1" else round(255 * (1.055 * (level / 255) ** (1 / 2.4) - 0.055))
    assert fixes[-1] == "profile_converted"
    assert np.abs(colour - linear).max() <= 2
