"""Small pictures inside a page or a notebook: data URIs, or the reason why there is none."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from lookalike.failures import ImageError
from lookalike.images import decoder
from lookalike.storage.image_reader import ImageReader

# The longer side in pixels; a page of 84 photos weighs 256 kB.
SIDE = 112
QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG as data URI, or None and the `problem`; width and height are those to be shown."""

    uri: str | None
    width: int = SIDE
    height: int = SIDE
    problem: str = ""


def make(path: str, reader: ImageReader) -> Thumbnail:
    """Return the thumbnail of the picture at `path`; that of a bad picture has no URI."""
    try:
        image = small(reader.read(path), SIDE, reader)
    except ImageError as error:
        return Thumbnail(None, problem=str(error))
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(jpeg(image)).decode()}", *image.size)


def small(data: bytes, side: int, reader: ImageReader) -> Image.Image:
    """Return a picture with `side` pixels on its longer side; raise ImageError."""
    # Stretched to a square, whatever the model needs; the proportions are restored below.
    limits = reader.limits.model_copy(update={"resize": "stretch"})
    picture = decoder.shared().decode(data, side, limits)
    width, height = picture.width, picture.height
    if picture.sideways:
        width, height = height, width
    longer = max(width, height)
    return Image.fromarray(picture.pixels).resize((max(1, side * width // longer), max(1, side * height // longer)))


def jpeg(image: Image.Image) -> bytes:
    """Return a picture as a small file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()
