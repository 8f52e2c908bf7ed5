"""URI -> bytes -> RGB pixels, or an ImageError with a reason from a closed list. No Spark.

A bad picture is data, not a defect: nothing here raises anything but ImageError for what a picture contains.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lookalike import config

# reason -> whether trying the same bytes again is pointless
REASONS: dict[str, bool] = {
    "not_found": False,
    "forbidden": False,
    "server_error": False,
    "bad_uri": True,
    "empty": True,
    "too_large": True,
    "too_many_pixels": True,
    "not_an_image": True,
    "unsupported_format": True,
    "truncated": True,
    "corrupt": True,
}

# Formats that product pictures come in; every other decoder of Pillow's stays shut. (A phone's MPO is a JPEG.)
Image.init()
FORMATS = tuple(name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF") if name in Image.OPEN)

# A JPEG is decoded at 1/2, 1/4 or 1/8 scale as long as this many times the input size is left for the bilinear
# filter. 1,500 x 2,000 JPEGs of 540 kB: 15 ms instead of 35 at 112 px, with a mean cosine of 0.9995 (least 0.9990)
# to full decoding, and 0.9998 (0.9997) at 224 px.
DRAFT_FACTOR = 2

_ORIENTATION_TAG = 0x0112
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

# The limit is ours (images.max_pixels), read from the header: Pillow's own would warn on the terminal.
Image.MAX_IMAGE_PIXELS = None


class ImageError(Exception):
    """A picture that cannot be embedded: `reason` is a key of REASONS, `detail` one line for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    @property
    def permanent(self) -> bool:
        """Whether the same bytes would fail again."""
        return REASONS[self.reason]


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `pixels` uint8 [size, size, 3] RGB; width and height as stored in the file."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    fixes: tuple[str, ...]


def content_hash(data: bytes) -> str:
    """SHA-256 of the bytes, hex."""
    return hashlib.sha256(data).hexdigest()


def join_root(root: str, path: str) -> str:
    """`path` below `root`, unless it is absolute or a URI itself."""
    if not root or "://" in path or path.startswith("/") or _is_file_uri(path):
        return path
    return f"{root.rstrip('/')}/{quote(path) if _is_file_uri(root) else path}"


def read(uri: str, limits: config.Images) -> bytes:
    """The bytes behind a local path or file: URI; raises ImageError."""
    path = _local_path(uri)
    with _reasons():
        size = _status(path).st_size
        if size > limits.max_bytes:
            raise ImageError("too_large", f"{size:,} bytes; images.max_bytes is {limits.max_bytes:,}")
        data = path.read_bytes()
    if not data:
        raise ImageError("empty", "0 bytes")
    return data


def version(uri: str) -> str:
    """Size and modification time in ns of a local path or file: URI, without reading it; raises ImageError."""
    path = _local_path(uri)
    with _reasons():
        status = _status(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


def _status(path: Path) -> os.stat_result:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a FIFO would hang the worker
        raise ImageError("not_found", "not a regular file")
    return status


@contextmanager
def _reasons() -> Iterator[None]:
    """What the file system says, as an ImageError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("not_found", "no such file") from None
    except PermissionError:
        raise ImageError("forbidden", "no permission to read it") from None
    except ValueError as error:  # an embedded NUL
        raise ImageError("bad_uri", str(error)) from None
    except OSError as error:
        reason = "bad_uri" if error.errno in _BAD_PATH else "server_error"
        raise ImageError(reason, error.strerror or type(error).__name__) from None


_BAD_PATH = {errno.ENAMETOOLONG, errno.ELOOP}


def _local_path(uri: str) -> Path:
    if not uri.strip():
        raise ImageError("bad_uri", "the path is empty")
    if _is_file_uri(uri):
        path = uri[len("file:") :]
        if path.startswith("//"):
            host, _, path = path[2:].partition("/")
            if host not in ("", "localhost"):
                raise ImageError("bad_uri", f"file: URI names another host, '{host}'")
            path = f"/{path}"
        # A raw '?' or '#' is part of the name: a file has neither query nor fragment.
        return Path(unquote(path))
    if "://" in uri:
        raise ImageError("bad_uri", f"no reader for '{uri.partition(':')[0]}:' pictures; give local paths")
    return Path(uri)


def _is_file_uri(uri: str) -> bool:
    return uri[:5].lower() == "file:"


def decode(data: bytes, size: int, limits: config.Images, *, draft: bool = True) -> Picture:
    """Pixels of `data` stretched to `size` x `size` with Pillow's bilinear filter, as Keras's load_img does.

    Raises ImageError. `draft=False` decodes a large JPEG at full scale.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            warnings.simplefilter("ignore")  # broken metadata in a sound picture
            width, height = image.size
            if width * height > limits.max_pixels:
                raise ImageError(
                    "too_many_pixels",
                    f"{width} x {height}; images.max_pixels is {limits.max_pixels:,}",
                )
            fixes: list[str] = []
            if getattr(image, "n_frames", 1) > 1:
                fixes.append("first_frame")
            orientation = _orientation(image)
            if draft and image.format in ("JPEG", "MPO"):
                image.draft(None, (DRAFT_FACTOR * size, DRAFT_FACTOR * size))
            rgb = _resized_rgb(image, size, fixes)
            if orientation in _UPRIGHT:
                fixes.append("exif_rotated")
                if image.format != "TIFF":  # Pillow turns those itself, and says the turned size
                    rgb = rgb.transpose(_UPRIGHT[orientation])
                elif orientation >= 5:
                    width, height = height, width
            return Picture(np.asarray(rgb), width, height, tuple(fixes))
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise whatever their parsing trips over
        raise _undecodable(error, data) from None


def _undecodable(error: Exception, data: bytes) -> ImageError:
    if isinstance(error, UnidentifiedImageError):
        return ImageError("not_an_image", f"starts with {data[:8]!r}")
    if isinstance(error, MemoryError):  # no fault of the picture: it is tried again
        return ImageError("server_error", "the worker had not enough memory to decode it")
    detail = " ".join(str(error).split()) or type(error).__name__
    return ImageError("truncated" if "truncated" in detail.lower() else "corrupt", detail)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; a broken EXIF block means upright."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a parser fed with anything; the picture itself may be sound
        return 1


def _resized_rgb(image: Image.Image, size: int, fixes: list[str]) -> Image.Image:
    """`image` in mode RGB, `size` x `size`; what had to be done is added to `fixes`."""
    target = (size, size)
    if image.has_transparency_data:
        # Resized first, with Pillow weighing colours by alpha: no white canvas and composite at full size.
        fixes.append("alpha_flattened")
        rgba = (image if image.mode == "RGBA" else image.convert("RGBA")).resize(target, Image.Resampling.BILINEAR)
        return Image.alpha_composite(Image.new("RGBA", target, "white"), rgba).convert("RGB")
    return _to_rgb(image, fixes).resize(target, Image.Resampling.BILINEAR)


def _to_rgb(image: Image.Image, fixes: list[str]) -> Image.Image:
    """An opaque `image` in mode RGB."""
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise ImageError("unsupported_format", "floating-point pixels have no agreed white")
    if image.mode.startswith("I"):
        # 16 bits a sample: Pillow's own conversion clips at 255 instead of scaling
        fixes.append("depth_reduced")
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    known = {"CMYK": "cmyk_converted", "P": "palette_expanded", "L": "grey_expanded", "1": "grey_expanded"}
    fixes.append(known.get(image.mode, "colour_space_converted"))
    return image.convert("RGB")
