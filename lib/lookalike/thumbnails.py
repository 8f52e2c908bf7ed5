"""Small pictures inside a page: data URIs, or the reason why there is none. No Spark."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from lookalike import config, images

# The longer side in pixels; a page of 84 photos weighs 256 kB.
SIDE = 112
QUALITY = 80

_ORIENTATION_TAG = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)  # EXIF 2.32, table 6


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG as data URI, or None and the `problem`; width and height as they should be shown."""

    uri: str | None
    width: int = SIDE
    height: int = SIDE
    problem: str = ""


def make(path: str, limits: config.Images) -> Thumbnail:
    """The thumbnail of the picture at `path`; a bad picture gives one without URI."""
    try:
        data = images.read(path, limits)
        picture = images.decode(data, SIDE, limits)
    except images.ImageError as error:
        return Thumbnail(None, problem=str(error))
    width, height = picture.width, picture.height
    if "exif_rotated" in picture.fixes and _is_on_its_side(data):
        width, height = height, width
    # decode stretches to a square, as the model wants it; here the proportions come back.
    longer = max(width, height)
    size = max(1, SIDE * width // longer), max(1, SIDE * height // longer)
    return Thumbnail(_data_uri(Image.fromarray(picture.pixels).resize(size)), *size)


def _is_on_its_side(data: bytes) -> bool:
    """Of a picture whose EXIF block was read before."""
    with Image.open(io.BytesIO(data), formats=images.FORMATS) as image:
        return image.getexif().get(_ORIENTATION_TAG) in _ON_ITS_SIDE


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
