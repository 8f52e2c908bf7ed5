"""Convert a picture of any of Pillow's modes to sRGB: depth, palette, ink, colour profile."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps

from lookalike.images import tiff
from lookalike.images.formats import PROFILE_BYTES

# A profile that changes no colour of a grid by more than this counts as sRGB. The profiles that call themselves sRGB
# change up to 2 of 255; Display P3 80, Adobe RGB 90.
NEARLY_SRGB = 4

Convert = Callable[[Image.Image], Image.Image]


def converter(image: ImageFile.ImageFile, fixes: list[str]) -> Convert:
    """Return a function that converts `image`, or a strip of it, to RGB, RGBA, or a mode that `to_srgb` takes.

    The names of the conversions are added to `fixes`.
    """
    if image.mode.startswith("I;16"):
        return _sixteen_bit(image, fixes)
    if image.mode in ("I", "F"):
        return _scaled(image, fixes)
    if image.has_transparency_data and not _is_unused_alpha(image):
        fixes.append("alpha_flattened")
        return _with_alpha
    if image.mode == "RGBA":
        return lambda part: part.convert("RGB")
    if tiff.is_inverted(image):
        fixes.append("grey_expanded")
        return lambda part: ImageOps.invert(part.convert("L")).convert("RGB")
    if image.mode in ("RGB", "LAB"):
        return lambda part: part
    if image.mode == "CMYK":
        fixes.append("cmyk_converted")
        return (lambda part: part) if _transform(_profile(image), "CMYK") else (lambda part: part.convert("RGB"))
    known = {"P": "palette_expanded", "L": "grey_expanded", "1": "grey_expanded"}
    fixes.append(known.get(image.mode, "colour_space_converted"))
    return lambda part: part.convert("RGB")


def _is_unused_alpha(image: ImageFile.ImageFile) -> bool:
    """Return whether alpha is 0 everywhere where it may be a byte that nobody has set: in BMP, or without a name."""
    unsure = image.mode == "RGBA" and (image.format == "BMP" or tiff.names_no_alpha(image))
    return unsure and image.getchannel("A").getextrema() == (0, 0)


def _with_alpha(part: Image.Image) -> Image.Image:
    if part.mode == "RGBA":
        return part
    return (part.convert("LA") if part.mode == "La" else part).convert("RGBA")


def to_srgb(small: Image.Image, original: Image.Image, background: str, fixes: list[str]) -> Image.Image:
    """Return `small`, the resized picture of `original`, in sRGB and laid on `background`; add to `fixes`."""
    if small.mode == "LAB":
        fixes.append("colour_space_converted")
        return ImageCms.applyTransform(small, _lab_transform()) or small
    profile = _profile(original)
    if profile:
        small = _into_srgb(small, profile, original.mode in _GREY, fixes)
    if small.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", small.size, background), small).convert("RGB")
    return small


def _into_srgb(small: Image.Image, profile: _Profile, grey: bool, fixes: list[str]) -> Image.Image:
    """Return `small` in sRGB; as it is where `profile` is broken, or of another kind of picture."""
    mode = "L" if grey else small.mode
    transform = _transform(profile, mode)
    if transform is None:
        if mode != "CMYK" and _kind(profile) is None:
            fixes.append("profile_ignored")
        return small
    fixes.append("profile_converted")
    if not grey:
        return ImageCms.applyTransform(small, transform) or small
    colours = ImageCms.applyTransform(small.getchannel("R"), transform) or small
    if small.mode == "RGBA":
        colours.putalpha(small.getchannel("A"))
    return colours


def _sixteen_bit(image: ImageFile.ImageFile, fixes: list[str]) -> Convert:
    """Scale 16 bits to 8; Pillow's own conversion clips at 255."""
    fixes.append("depth_reduced")
    clear = image.info.get("transparency")
    shift, inverse = tiff.bits(image) - 8, 255 if tiff.is_inverted(image) else 0
    if not isinstance(clear, int):
        return lambda part: Image.fromarray((np.asarray(part) >> shift).astype(np.uint8) ^ inverse).convert("RGB")
    fixes.append("alpha_flattened")

    def with_alpha(part: Image.Image) -> Image.Image:
        samples = np.asarray(part)
        alpha = np.where(samples == clear, 0, 255).astype(np.uint8)
        grey = (samples >> 8).astype(np.uint8)
        return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha))).convert("RGBA")

    return with_alpha


def _scaled(image: ImageFile.ImageFile, fixes: list[str]) -> Convert:
    """Scale 32-bit samples to 8 bits: their white is not agreed, so the least usual range that holds them is taken."""
    fixes.append("depth_reduced")
    unsigned = image.mode == "I" and tiff.is_unsigned(image)
    low, high = _range(image, unsigned)
    if low < 0 or high > 65535:
        black, white = low, max(high, np.nextafter(low, np.inf))
    else:
        usual = [1, 255, 65535] if image.mode == "F" else [255, 32767, 65535]
        black, white = 0.0, float(next(top for top in usual if high <= top))
    if tiff.is_inverted(image):
        black, white = white, black

    def scaled(part: Image.Image) -> Image.Image:
        samples = _numbers(part, unsigned).astype(np.float64)
        samples = np.nan_to_num(samples, nan=black, posinf=max(black, white), neginf=min(black, white))
        grey: NDArray[np.float64] = ((samples - black) / (white - black) * 255).round().clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")

    return scaled


def _numbers(part: Image.Image, unsigned: bool) -> NDArray[np.generic]:
    samples = np.asarray(part)
    return samples.view(np.uint32) if unsigned else samples


def _range(image: Image.Image, unsigned: bool) -> tuple[float, float]:
    """Return the least and the greatest finite sample; by strips, as a mask of all would double the memory."""
    low, high = np.inf, -np.inf
    for top in range(0, image.height, 256):
        samples = _numbers(image.crop((0, top, image.width, min(top + 256, image.height))), unsigned)
        samples = samples[np.isfinite(samples)]
        if samples.size:
            low, high = min(low, float(samples.min())), max(high, float(samples.max()))
    return (low, high) if low <= high else (0, 0)


@dataclass(frozen=True)
class _Profile:
    """A colour profile, known by its hash: a cache of transforms keeps no profile alive, however long it is."""

    sha256: str
    data: bytes = field(compare=False, repr=False)


def _profile(image: Image.Image) -> _Profile | None:
    """Return the profile of `image`; an empty one, which is broken, for one that is too long to be used."""
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not data:
        return None
    data = data if len(data) <= PROFILE_BYTES else b""
    return _Profile(hashlib.sha256(data).hexdigest(), data)


_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "F")
_SPACES = {"RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK", "L": "GRAY"}
_MODES = {"RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB", "L": "RGB"}

# A shop has a handful of profiles; to build a transform takes 1 to 20 ms. (profile's hash, mode) -> transform
_transforms: OrderedDict[tuple[str, str], ImageCms.ImageCmsTransform | None] = OrderedDict()
MOST_TRANSFORMS = 16


def _transform(profile: _Profile | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from `profile` to sRGB; None without a profile, or where it is broken or changes nothing."""
    if profile is None:
        return None
    key = (profile.sha256, mode)
    if key not in _transforms:
        _transforms[key] = _built(profile.data, mode)
        if len(_transforms) > MOST_TRANSFORMS:
            _transforms.popitem(last=False)
    _transforms.move_to_end(key)
    return _transforms[key]


def _built(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, _srgb(), mode, _MODES[mode])
        grid = Image.fromarray(_grid(mode))
        after = np.asarray(ImageCms.applyTransform(grid, transform))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - littlecms and its parser raise anything for what is no profile
        return None
    if mode == "CMYK":
        return transform
    before = np.asarray(grid).reshape(*after.shape[:2], -1)
    changes = np.abs(after[..., :3].astype(int) - before[..., :3]).max()
    return transform if changes > NEARLY_SRGB else None


def _kind(profile: _Profile) -> str | None:
    """Return the colours that `profile` is of; None where it is broken."""
    try:
        return str(ImageCms.ImageCmsProfile(io.BytesIO(profile.data)).profile.xcolor_space.strip())
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as above
        return None


def _grid(mode: str) -> NDArray[np.uint8]:
    """Return colours from the whole cube, opaque; or all greys."""
    if mode == "L":
        return np.arange(256, dtype=np.uint8)[None]
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
