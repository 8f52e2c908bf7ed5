"""Bytes -> RGB pixels, or an ImageError with a reason from a closed list.

A bad picture is data, not a defect: whatever a picture contains, only ImageError is raised here. This runs in the
decoder's own process (process.py): it changes settings of Pillow that are one for a whole process.
"""

from __future__ import annotations

import contextlib
import math
import threading
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFile

from lookalike.failures import ImageError
from lookalike.images import colour, completeness, formats, jpeg, png, refusals, tiff, webp
from lookalike.images.picture import TRUNCATED, Picture

if TYPE_CHECKING:
    from lookalike import config

# A JPEG is decoded at 1/2, 1/4 or 1/8 scale as long as this many times the input size is left for the bilinear
# filter. 1,500 x 2,000 JPEGs of 380 kB at 224 px: 27 ms decoded whole, 13.7 with a factor of 2, 8.7 with 1.5, at a mean
# cosine to the whole of 0.99998 (least 0.9997); at 112 px 0.99994 (0.9998). int8 is at 0.9998.
DRAFT_FACTOR = 1.5

# Bytes of memory that a decoder takes a pixel, for its own buffers and Pillow's picture, where that is not 4. The worst
# pictures that the default limits let through take the process up to 275 MB, its own 45 MB among them: 7,070 x 7,070
# PNG with transparency, progressive JPEG 4:4:4 of 5,750 x 5,800, WebP of 3,530 x 3,560, AVIF of 3,780 x 3,790.
# A HEIC of a phone's 24 megapixels, 8 bits, takes it up to 220 MB.
BYTES_A_PIXEL = {"WEBP": 16, "AVIF": 14, "HEIF": 8}
DEEP_HEIF, HEIF_WITH_ALPHA = 17, 10

# And for each row and column, a pointer, a padding and the weights of the filter: 1 x 50,000,000 took 510 MB.
BYTES_A_LINE = 32

# From this size on, pictures that need converting are shrunk in strips first: 64 MB a copy.
STRIPS_FROM = 16_000_000
STRIP_PIXELS = 1_000_000

# How far an animation is searched for a frame that shows something: a logo that fades in takes some 10 frames. Two are
# always looked at.
MOST_FRAMES = 50
FRAME_PIXELS = 100_000_000

# EXIF orientation -> what puts the picture upright (EXIF 2.32, table 6)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SIDEWAYS = (5, 6, 7, 8)


def decode(data: bytes, size: int, limits: config.ImageSettings, *, draft: bool = True) -> Picture:
    """Return the pixels of `data` at `size` x `size`, as `images.resize` says; raise ImageError.

    `stretch` is what Keras's load_img does. `draft=False` decodes a large JPEG at full scale.
    """
    try:
        return _decoded(data, size, limits, draft)
    except ImageError as error:
        if error.reason != "truncated" or not limits.accept_truncated:
            raise
    with _truncated_allowed:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            picture = _decoded(data, size, limits, draft)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    return replace(picture, fixes=(*picture.fixes, TRUNCATED))


_truncated_allowed = threading.Lock()  # Pillow's switch is one for the whole process


def _decoded(data: bytes, size: int, limits: config.ImageSettings, draft: bool) -> Picture:
    name = formats.format_of(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken metadata in a sound picture
            prepared, fixes = _PREPARE.get(name, _as_it_is)(data)
            with formats.opened(prepared, name) as image:
                _check_size(image, limits)
                source = completeness.Source(prepared, name, _least(size) if draft else 0, prepared is data)
                picture = _shown(image, source, size, limits)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise whatever their parsing meets
        raise refusals.undecodable(error, data, name) from None
    return replace(picture, fixes=(*fixes, *picture.fixes)) if fixes else picture


def _as_it_is(data: bytes) -> tuple[bytes, list[str]]:
    return data, []


# What makes of a file one that Pillow reads rightly; it names what it repaired.
_PREPARE = {"PNG": png.prepared, "TIFF": tiff.prepared, "JPEG": jpeg.prepared, "WEBP": webp.prepared}


def _shown(image: ImageFile.ImageFile, source: completeness.Source, size: int, limits: config.ImageSettings) -> Picture:
    """Return the first frame, or, where that is all background, the first one that shows something."""
    first, shows = _picture(image, source, size, limits)
    if shows or not _is_animation(image):
        return first
    most = max(2, min(MOST_FRAMES, FRAME_PIXELS // (image.width * image.height)))
    with contextlib.suppress(Exception):  # damage behind the first frame does no harm
        for number in range(1, most):
            image.seek(number)
            picture, shows = _picture(image, source, size, limits)
            if shows:
                return picture
    return first


def _is_animation(image: ImageFile.ImageFile) -> bool:
    return image.format in ("GIF", "PNG", "WEBP", "AVIF") and bool(getattr(image, "is_animated", False))


def _picture(
    image: ImageFile.ImageFile, source: completeness.Source, size: int, limits: config.ImageSettings
) -> tuple[Picture, bool]:
    """Return the current frame, and whether it shows anything but the background."""
    fixes = ["first_frame"] if getattr(image, "is_animated", False) else []
    orientation = _orientation(image)
    if image.format == "TIFF":
        tiff.put_right(image, orientation in _SIDEWAYS)
    width, height = image.size
    convert = colour.converter(_loaded(image, source), fixes)
    small = _fitted(*_shrunk(image, convert, size), size, limits.resize)
    rgb = colour.to_srgb(small, image, limits.background, fixes)
    if orientation in _UPRIGHT:
        fixes.append("exif_rotated")
        rgb = rgb.transpose(_UPRIGHT[orientation])
    pixels = _framed(rgb, size, limits.background)
    shows = rgb.getextrema() != tuple((level, level) for level in ImageColor.getrgb(limits.background))
    return Picture(pixels, width, height, tuple(fixes), orientation in _SIDEWAYS), shows


def _loaded(image: ImageFile.ImageFile, source: completeness.Source) -> ImageFile.ImageFile:
    """Decode `image` and return it: only then a palette's transparency and a float's range are known."""
    if not ImageFile.LOAD_TRUNCATED_IMAGES and source.name == "PNG":
        png.check(source.data)
    if source.least and image.format in ("JPEG", "MPO"):
        image.draft(None, (source.least, source.least))
    frame = completeness.frame_of(image)
    image.load()
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        completeness.check(image, source)
    completeness.clear_outside(image, frame)
    return image


def _least(size: int) -> int:
    """Return the least side that a picture keeps before the bilinear filter."""
    return math.ceil(DRAFT_FACTOR * size)


def _check_size(image: ImageFile.ImageFile, limits: config.ImageSettings) -> None:
    """Refuse, from the header alone, a picture that would take too much memory to decode."""
    width, height = image.size
    pixels = width * height
    if pixels > limits.max_pixels:
        raise ImageError("too_many_pixels", f"{width} x {height}; images.max_pixels is {limits.max_pixels:,}")
    needed = int(pixels * _bytes_a_pixel(image)) + BYTES_A_LINE * (width + height)
    if needed > limits.max_decoded_bytes:
        raise ImageError(
            "too_many_pixels",
            f"{width} x {height} of {image.format} take {needed:,} bytes to decode; "
            f"images.max_decoded_bytes is {limits.max_decoded_bytes:,}",
        )


def _bytes_a_pixel(image: ImageFile.ImageFile) -> float:
    """Return the most bytes of memory that Pillow takes a pixel while it decodes."""
    if image.format not in ("JPEG", "MPO"):
        if image.format == "HEIF":
            return _bytes_a_heif_pixel(image)
        strip = tiff.strip_bytes_a_pixel(image) if image.format == "TIFF" else 0
        return BYTES_A_PIXEL.get(str(image.format), 4) + strip
    if not image.info.get("progressive"):
        return 1  # decoded at a fraction of its scale, a line of blocks at a time
    # Every coefficient is held in 2 bytes, and of a subsampled component there are fewer.
    factors = [across * down for _, across, down, _ in getattr(image, "layer", [])]
    return 2 * sum(factors) / max(factors) if factors else 8


def _bytes_a_heif_pixel(image: ImageFile.ImageFile) -> float:
    if image.info.get("bit_depth", 8) > 8:
        return DEEP_HEIF
    return HEIF_WITH_ALPHA if image.mode == "RGBA" else BYTES_A_PIXEL["HEIF"]


def _shrunk(image: Image.Image, convert: colour.Convert, size: int) -> tuple[Image.Image, tuple[float, float]]:
    """Return `image` in a mode that can be resized, and the width and height of it that the picture covers.

    A huge one that needs converting is reduced by whole factors, strip by strip, to a little more than `size`: a second
    copy at full size would take as much memory again, and Pillow's own filter for transparent pictures a third copy.
    """
    if image.width * image.height <= STRIPS_FROM or (image.mode == "RGB" and not image.has_transparency_data):
        return convert(image), image.size
    across, down = (max(1, side // _least(size)) for side in image.size)
    rows = down * max(1, STRIP_PIXELS // (image.width * down))
    parts = [
        convert(image.crop((0, top, image.width, min(top + rows, image.height)))).reduce((across, down))
        for top in range(0, image.height, rows)
    ]
    whole = Image.new(parts[0].mode, (parts[0].width, sum(part.height for part in parts)))
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    # The last column and row stand for fewer pixels than a whole factor.
    return whole, (image.width / across, image.height / down)


def _fitted(image: Image.Image, covered: tuple[float, float], size: int, resize: str) -> Image.Image:
    """Return `image` at most `size` x `size`: stretched to it, its middle square, or with its own shape."""
    width, height = covered
    shape, box = (size, size), (0.0, 0.0, width, height)
    if resize == "pad":
        longer = max(width, height)
        shape = max(1, round(width * size / longer)), max(1, round(height * size / longer))
    elif resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize(shape, Image.Resampling.BILINEAR, box)


def _framed(image: Image.Image, size: int, background: str) -> NDArray[np.uint8]:
    """Return the pixels of `image` in the middle of a square of `background`."""
    if image.size == (size, size):
        return np.asarray(image)
    frame = Image.new("RGB", (size, size), background)
    frame.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(frame)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; upright (1) where the EXIF block is broken."""
    try:
        for name in ("xmp", "XML:com.adobe.xmp"):  # browsers do not turn a picture by it; Pillow does
            image.info.pop(name, None)
        return int(image.getexif().get(tiff.ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a parser fed with anything; the picture itself may be sound
        return 1
