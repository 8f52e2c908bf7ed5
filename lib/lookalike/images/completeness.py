"""Whether a picture that its decoder took is whole: libjpeg and Pillow's GIF decoder fill up what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageFile

from lookalike.failures import ImageError
from lookalike.images import formats, jpeg


@dataclass(frozen=True)
class Source:
    """The bytes of a picture and its format, the side it was drafted with or 0, and whether its end was there."""

    data: bytes
    name: str
    least: int
    ended: bool


def check(image: ImageFile.ImageFile, source: Source) -> None:
    """Raise ImageError where rows of the decoded `image`, of a JPEG or the first frame of a GIF, are missing."""
    if source.name == "JPEG" and jpeg.lacks_rows(image, source.data, source.least, ended=source.ended):
        raise ImageError("truncated", "a JPEG with fewer rows than its header says")
    if source.name == "GIF" and image.tell() == 0 and _is_unwritten(image, source.data):
        raise ImageError("truncated", "a GIF with fewer rows than its header says")


def frame_of(image: ImageFile.ImageFile) -> tuple[int, int, int, int]:
    """Return the part of the canvas that a GIF that is not loaded yet writes to; all of any other picture."""
    whole = (0, 0, *image.size)
    return (image.tile[0].extents or whole) if image.format == "GIF" and image.tile else whole


def clear_outside(image: ImageFile.ImageFile, frame: tuple[int, int, int, int]) -> None:
    """Make transparent what a GIF leaves of its canvas, as browsers do; Pillow gives it the colour 0.

    Where the frame uses all 256 colours, none is left to say it with.
    """
    if frame == (0, 0, *image.size) or image.mode not in ("P", "L") or "transparency" in image.info:
        return
    inside = image.crop(frame)
    used = inside.histogram()
    if 0 in used:
        image.paste(used.index(0), (0, 0, *image.size))
        image.paste(inside, frame)
        image.info["transparency"] = used.index(0)


def _is_unwritten(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Return whether the last pixel of the frame was not decoded: on another ground it has another colour."""
    with formats.opened(data, "GIF") as other:
        extents = other.tile[0].extents or (0, 0, *other.size)
        at = extents[2] - 1, extents[3] - 1
        before = image.getpixel(at)
        if image.mode not in ("P", "L") or before != _ground(image):
            return False
        other.load_prepare = lambda: None  # type: ignore[method-assign]
        other.im = Image.new(image.mode, other.size, 255 - int(before)).im
        other.load()
        return other.getpixel(at) != before


def _ground(image: ImageFile.ImageFile) -> int:
    clear = image.info.get("transparency", 0)
    return clear if isinstance(clear, int) else 0
