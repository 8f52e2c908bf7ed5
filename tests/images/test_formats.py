"""The format is told by the first bytes: one that is read, another kind of picture by its name, or no picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lookalike.failures import ImageError
from lookalike.images.formats import format_of

PICTURE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5)


def saved(kind: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    PICTURE.convert(mode).save(buffer, kind)
    return buffer.getvalue()


def ftyp(*brands: bytes) -> bytes:
    return (
        (16 + 4 * len(brands[1:])).to_bytes(4, "big")
        + b"ftyp"
        + brands[0]
        + bytes(4)
        + b"".join(brands[1:])
        + bytes(99)
    )


@pytest.mark.parametrize(
    ("data", "name"),
    [
        *((saved(kind), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")),
        (ftyp(b"avif"), "AVIF"),
        (ftyp(b"avis"), "AVIF"),
        (ftyp(b"mif1", b"mif1", b"avif"), "AVIF"),
        (ftyp(b"mif1", b"mif1", b"heic"), "HEIF"),
        (ftyp(b"heic"), "HEIF"),
        (ftyp(b"msf1", b"hevc"), "HEIF"),
    ],
)
def test_readable_format_is_told_by_its_magic(data: bytes, name: str) -> None:
    assert format_of(data) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        *((saved("PPM", mode), "PPM") for mode in ("1", "L", "RGB")),
        (b"P7\nWIDTH 4\nHEIGHT 4\nDEPTH 3\nMAXVAL 255\nENDHDR\n", "PPM"),
        *((saved("TGA", mode), "Targa") for mode in ("RGB", "L", "P", "RGBA")),
        (saved("TGA")[:-26], "Targa"),  # version 1, without the footer
        (saved("PCX"), "PCX"),
        (saved("DDS"), "DDS"),
        (saved("QOI"), "QOI"),
        (saved("SGI"), "SGI"),
        (saved("ICO"), "icon"),
        (saved("JPEG2000"), "JPEG 2000"),
        (saved("PDF"), "PDF"),
        (saved("EPS"), "EPS"),
        (saved("XBM", "1"), "X bitmap"),
        (b"v/1\x01" + bytes(99), "OpenEXR"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "Radiance"),
        (b"SIMPLE  =                    T" + bytes(99), "FITS"),
        (b"8BPS\0\1" + bytes(99), "Photoshop"),
        (b"gimp xcf v011\0" + bytes(99), "GIMP"),
        (b"\xff\x0a" + bytes(99), "JPEG XL"),
        (b"\xd7\xcd\xc6\x9a" + bytes(99), "metafile"),
        (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(99), "metafile"),
        (b"RIFF\0\0\0\0ACONLIST" + bytes(99), "icon"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "raw picture"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(99), "raw picture"),
        (ftyp(b"crx "), "raw picture"),
        (b"MM\0+\0\x08\0\0" + bytes(99), "BigTIFF"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        ("\ufeff<svg/>   ".encode("utf-16-le"), "SVG"),
    ],
)
def test_other_kinds_of_pictures_are_named(data: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=rf"^unsupported_format: an? .*{name}"):
        format_of(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        b"<!doctype html><html><body><svg/></body></html>",
        b"<html><svg></svg></html>" + bytes(99),
        b"RIFF\0\0\0\0AVI LIST" + bytes(99),
        ftyp(b"isom", b"mp42"),
        ftyp(b"qt  "),
        b"BMW, Audi and others: a price list" + bytes(99),
        b"PK\3\4" + bytes(99),
        bytes(1000),
        b"P.S. see below" + bytes(99),
        b"\x1f\x8b\x08" + bytes(99),
    ],
)
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^not_an_image"):
        format_of(data)
