"""Convert a picture of any of Pillow's modes to sRGB: depth, palette, ink, colour profile."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

# A profile that changes no colour of a grid by more than this counts as sRGB. The profiles that call themselves sRGB
# change up to 2 of 255; Display P3 80, Adobe RGB 90.
NEARLY_SRGB = 4

Convert = Callable[[Image.Image], Image.Image]


def converter(image: Image.Image, fixes: list[str]) -> Convert:
    """Return a function that converts `image`, or a strip of it, to RGB, RGBA, or a mode that `to_srgb` takes.

    The names of the conversions are added to `fixes`.
    """
    if image.mode.startswith("I;16"):
        return _sixteen_bit(image, fixes)
    if image.mode in ("I", "F"):
        return _scaled(image, fixes)
    if image.has_transparency_data:
        fixes.append("alpha_flattened")
        return lambda part: part if part.mode == "RGBA" else part.convert("RGBA")
    if image.mode in ("RGB", "LAB"):
        return lambda part: part
    if image.mode == "CMYK":
        fixes.append("cmyk_converted")
        return (lambda part: part) if _transform(_profile(image), "CMYK") else (lambda part: part.convert("RGB"))
    known = {"P": "palette_expanded", "L": "grey_expanded", "1": "grey_expanded"}
    fixes.append(known.get(image.mode, "colour_space_converted"))
    return lambda part: part.convert("RGB")


def to_srgb(small: Image.Image, original: Image.Image, background: str, fixes: list[str]) -> Image.Image:
    """Return `small`, the resized picture of `original`, in sRGB and laid on `background`; add to `fixes`."""
    if small.mode == "LAB":
        fixes.append("colour_space_converted")
        return ImageCms.applyTransform(small, _lab_transform()) or small
    profile = _profile(original)
    # A profile of another kind of picture, of grey or of ink, says nothing about RGB.
    if profile and (small.mode == "CMYK" or original.mode in ("RGB", "RGBA", "P")):
        small = _into_srgb(small, profile, fixes)
    if small.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", small.size, background), small).convert("RGB")
    return small


def _into_srgb(small: Image.Image, profile: bytes, fixes: list[str]) -> Image.Image:
    ink = small.mode == "CMYK"
    transform = _transform(profile, small.mode)
    if transform is None:
        if not ink and _is_broken(profile):
            fixes.append("profile_ignored")
        return small
    fixes.append("profile_converted")
    return ImageCms.applyTransform(small, transform) or small


def _sixteen_bit(image: Image.Image, fixes: list[str]) -> Convert:
    """Scale 16 bits to 8; Pillow's own conversion clips at 255."""
    fixes.append("depth_reduced")
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return lambda part: Image.fromarray((np.asarray(part) >> 8).astype(np.uint8)).convert("RGB")
    fixes.append("alpha_flattened")

    def with_alpha(part: Image.Image) -> Image.Image:
        samples = np.asarray(part)
        alpha = np.where(samples == clear, 0, 255).astype(np.uint8)
        grey = (samples >> 8).astype(np.uint8)
        return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha))).convert("RGBA")

    return with_alpha


def _scaled(image: Image.Image, fixes: list[str]) -> Convert:
    """Scale 32-bit samples to 8 bits: their white is not agreed, so the least usual range that holds them is taken."""
    fixes.append("depth_reduced")
    low, high = _range(image)
    if low < 0 or high > 65535:
        black, white = low, max(high, np.nextafter(low, np.inf))
    else:
        usual = [1, 255, 65535] if image.mode == "F" else [255, 65535]
        black, white = 0.0, float(next(top for top in usual if high <= top))

    def scaled(part: Image.Image) -> Image.Image:
        samples = np.nan_to_num(np.asarray(part, dtype=np.float64), nan=black, posinf=white, neginf=black)
        grey: NDArray[np.float64] = ((samples - black) / (white - black) * 255).round().clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")

    return scaled


def _range(image: Image.Image) -> tuple[float, float]:
    """Return the least and the greatest finite sample; by strips, as a mask of all would double the memory."""
    low, high = np.inf, -np.inf
    for top in range(0, image.height, 256):
        samples = np.asarray(image.crop((0, top, image.width, min(top + 256, image.height))))
        samples = samples[np.isfinite(samples)]
        if samples.size:
            low, high = min(low, float(samples.min())), max(high, float(samples.max()))
    return (low, high) if low <= high else (0, 0)


def _profile(image: Image.Image) -> bytes:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else b""


_MODES = {"RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB"}


@lru_cache(maxsize=16)  # a shop has a handful of profiles; to build a transform takes 1 to 20 ms
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from `profile` to sRGB; None without a profile, or where it is broken or changes nothing."""
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, _srgb(), mode, _MODES[mode])
        grid = Image.fromarray(_grid(mode))
        after = np.asarray(ImageCms.applyTransform(grid, transform))
    except Exception:  # noqa: BLE001 - littlecms and its parser raise anything for what is no profile
        return None
    if mode == "CMYK":
        return transform
    changes = np.abs(after[..., :3].astype(int) - np.asarray(grid)[..., :3]).max()
    return transform if changes > NEARLY_SRGB else None


def _is_broken(profile: bytes) -> bool:
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except Exception:  # noqa: BLE001 - as above
        return True
    return False


def _grid(mode: str) -> NDArray[np.uint8]:
    """Return colours from the whole cube, opaque."""
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(6, 36, 3)
    if mode == "RGB":
        return colours
    return np.concatenate([colours, np.full((6, 36, 1), 255, np.uint8)], -1)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
