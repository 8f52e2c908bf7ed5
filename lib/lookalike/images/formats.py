"""Which format a file is of, told by its first bytes: one that is read, another kind of picture, or no picture."""

from __future__ import annotations

import io
import re
from functools import cache

import pillow_heif
from PIL import AvifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin

from lookalike.failures import ImageError

# Formats that product pictures come in; every other decoder of Pillow's stays shut. (A phone's MPO is a JPEG.)
WANTED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

# The longest colour profile that is used. Those of printing presses, the longest, have some 2 MB; one of 60 MB, which
# TIFF and WebP allow, would take the memory that pictures are decoded in.
PROFILE_BYTES = 4 << 20

# Fewer bytes say nothing yet: the longest magic has 12.
LEAST_BYTES = 12


@cache
def readable() -> tuple[str, ...]:
    """Return the formats that this Pillow can read of those; the first call loads all decoders and sets them up."""
    Image.init()
    # One picture at a time: threads would take address space and no time off. Thumbnails inside are not for us.
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    PngImagePlugin.MAX_TEXT_CHUNK = PROFILE_BYTES  # its limit on a profile too; texts do not get so far (png.py)
    # Pillow's own reader of uncompressed TIFFs takes 16-bit planes for 8-bit ones; libtiff reads all of them rightly.
    TiffImagePlugin.READ_LIBTIFF = True
    # So are 16 bits with 0 as white, and unsigned 32 bits, in this machine's byte order, of big-endian files.
    TiffImagePlugin.OPEN_INFO[(TiffImagePlugin.MM, 0, (1,), 1, (16,), ())] = ("I;16B", "I;16B")
    TiffImagePlugin.OPEN_INFO[(TiffImagePlugin.MM, 1, (1,), 1, (32,), ())] = ("I", "I;32N")
    return tuple(name for name in WANTED if name in Image.OPEN)


def format_of(data: bytes) -> str:
    """Return the readable format of `data`; raise ImageError for any other."""
    name = next((name for pattern, name in _READ if pattern.match(data)), None)
    if name in readable() and len(data) >= LEAST_BYTES:
        return str(name)
    other = None if name else _other_format(data)
    if other:
        raise ImageError("unsupported_format", f"{other}; the formats are {', '.join(readable())}")
    raise ImageError("not_an_image", f"starts with {data[:8]!r}")


def opened(data: bytes, name: str) -> ImageFile.ImageFile:
    """Open `data` with the decoder of the format `name`."""
    image: ImageFile.ImageFile = Image.OPEN[name][0](io.BytesIO(data), "")
    return image


def _first(*patterns: bytes) -> re.Pattern[bytes]:
    return re.compile(b"|".join(patterns), re.DOTALL)


# The brands of an ISO media file are its own and those that it is compatible with.
_FTYP = rb".{4}ftyp"
_READ = (
    (_first(rb"\xff\xd8\xff"), "JPEG"),
    (_first(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (_first(rb"GIF8"), "GIF"),
    (_first(rb"RIFF.{4}WEBP"), "WEBP"),
    (_first(rb"BM.{4}\0{4}", rb"BM.{12}[\x0c-\x80]\0\0\0"), "BMP"),  # reserved bytes; the length of a known header
    (_first(rb"II\*\0(?!.{4}CR)", rb"MM\0\*", rb"II\+\0\x08\0\0\0"), "TIFF"),
    (_first(_FTYP + rb"avi[fs]", _FTYP + rb"mi[fa][1f].{0,40}avi[fs]"), "AVIF"),
    (_first(_FTYP + rb"(?:hei[cxms]|hev[cxms]|mif1|msf1)"), "HEIF"),
)

# Pictures of other kinds that people upload.
_OTHERS = (
    (_first(rb"MM\0\+\0\x08\0\0"), "a big-endian BigTIFF"),
    (_first(rb"P[1-7]\s"), "a portable bitmap (PPM)"),
    (_first(rb"P[Ff]\s+\d"), "a portable float map (PFM)"),
    (_first(rb"8BP[SB]"), "a Photoshop document"),
    (_first(rb"\0\0\0\x0cjP  ", rb"\xff\x4f\xff\x51"), "a JPEG 2000"),
    (_first(rb"\0\0\0\x0cJXL ", rb"\xff\x0a"), "a JPEG XL"),
    (_first(rb"II\xbc", rb"WMPHOTO"), "a JPEG XR"),
    (_first(rb"%PDF"), "a PDF"),
    (_first(rb"%!PS", rb"\xc5\xd0\xd3\xc6"), "an EPS"),
    (_first(rb"\0\0[\1\2]\0[^\0]", rb"RIFF.{4}ACON", rb"icns"), "an icon"),
    (_first(rb"DDS "), "a DirectDraw surface (DDS)"),
    (_first(rb"qoif"), "a QOI"),
    (_first(rb"v/1\x01"), "an OpenEXR"),
    (_first(rb"#\?(?:RADIANCE|RGBE)"), "a Radiance HDR"),
    (_first(rb"SIMPLE  ="), "a FITS"),
    (_first(rb"gimp xcf"), "a GIMP document (XCF)"),
    (_first(rb"\n[\0-\5]\x01[\x01\x02\x04\x08]", rb"\xb1h\xde:"), "a PCX"),
    (_first(rb"\x01\xda[\0\x01][\x01\x02]"), "an SGI picture"),
    (_first(rb"Y\xa6j\x95"), "a Sun raster"),
    (_first(rb"\xd7\xcd\xc6\x9a", rb"\x01\0\x09\0\0[\x01\x03]", rb"\x01\0\0\0.{36} EMF"), "a Windows metafile"),
    (_first(rb"#define \S+_width", rb"/\* XPM \*/"), "an X bitmap"),
    (_first(rb"[\x8a\x8b][MJ]NG\r\n\x1a\n"), "an MNG"),
    (_first(rb"BPG\xfb"), "a BPG"),
    (_first(rb"FORM.{4}(?:ILBM|PBM |RGB8)"), "an Amiga picture (IFF)"),
    (_first(rb"AT&TFORM"), "a DjVu"),
    (_first(rb".{128}DICM"), "a DICOM"),
    (_first(rb"BA.{12}(?:BM|CI|CP|IC|PT)"), "an OS/2 bitmap"),
    (
        _first(rb"FUJIFILMCCD", rb"II\*\0.{4}CR", rb"IIR[OS]", rb"MMOR", rb"IIU\0", rb"FOVb", _FTYP + rb"crx "),
        "a camera's raw picture",
    ),
    (_first(_FTYP + rb"(?:avci|j2ki|vvic|evc[bi])"), "a HEIF without HEVC"),
    (_first(rb"BLP[12]", rb"FTEX", rb"\xabKTX"), "a texture"),
    (_first(rb".{4}[\x11\x12]\xaf"), "a FLIC animation"),
)

# Of a Targa of version 1 there is no magic: colour map or none, a kind, a size, a depth.
_TARGA = _first(
    rb".\0[\x02\x03\x0a\x0b]\0{5}.{4}(?!\0\0)..(?!\0\0)..[\x08\x0f\x10\x18\x20][\0-\x3f]",
    rb".\x01[\x01\x09].{4}[\x0f\x10\x18\x20].{4}(?!\0\0)..(?!\0\0)..\x08[\0-\x3f]",
)


def _other_format(data: bytes) -> str | None:
    if data.endswith(b"TRUEVISION-XFILE.\0") or (len(data) > 18 and _TARGA.match(data)):
        return "a Targa"
    if _is_svg(data[:1000].replace(b"\0", b"").lower()):
        return "an SVG"
    return next((name for pattern, name in _OTHERS if pattern.match(data)), None)


def _is_svg(start: bytes) -> bool:
    """Return whether there is a drawing, and no web page around it."""
    return b"<svg" in start and b"<html" not in start and b"<!doctype html" not in start
