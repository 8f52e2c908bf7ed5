"""Pictures drawn here, in every format and every state of damage: pixels, or a reason from the closed list."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from lookalike import config
from lookalike.failures import REASONS, ImageError
from lookalike.images import decode as images
from lookalike.images import formats
from lookalike.images.decode import BYTES_A_LINE, DRAFT_FACTOR, decode
from lookalike.images.picture import TRUNCATED, Picture, pixel_recipe

LIMITS = config.ImageSettings(resize="stretch")
SIZE = 16
ORIENTATION = 0x0112

# What a colour becomes on its way through an encoder that keeps it only roughly.
LOSSY = 6


def gradient(width: int = 90, height: int = 60) -> Image.Image:
    """A smooth picture whose four corners differ, so that no flip or turn leaves it as it was."""
    y, x = np.mgrid[0:height, 0:width]
    across, down = x * 255 // max(1, width - 1), y * 255 // max(1, height - 1)
    return Image.fromarray(np.stack([across, down, 255 - across], -1).astype(np.uint8))


def noise(width: int, height: int, seed: int = 5) -> Image.Image:
    """Pixels that compress badly: there is always something left to cut off."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of `kind`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stretched(image: Image.Image, size: int = SIZE) -> np.ndarray:
    """What Keras's load_img(target_size, interpolation="bilinear") does with the picture."""
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def turned(orientation: int) -> Image.Exif:
    """EXIF with nothing but an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def png(width: int, height: int, rows: bytes) -> bytes:
    """An 8-bit RGB PNG that claims width x height and holds `rows`, true or not."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def reason_of(call: Callable[..., object], *args: object) -> str:
    """Why `call` refuses: a key of REASONS with one line for a person."""
    with pytest.raises(ImageError) as refused:
        call(*args)
    error = refused.value
    assert error.reason in REASONS
    assert error.permanent is REASONS[error.reason]
    assert error.detail
    assert len(error.detail.splitlines()) == 1
    return error.reason


# --- decode: sound pictures ---


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 15), (90, 60), (3, 200), (1, 900)])
@pytest.mark.parametrize("size", [1, 16, 112])
def test_pixels_are_those_of_pillows_bilinear_stretch(shape: tuple[int, int], size: int) -> None:
    image = noise(*shape)
    picture = decode(encoded(image, "PNG"), size, LIMITS)
    np.testing.assert_array_equal(picture.pixels, stretched(image, size))
    assert (picture.width, picture.height, picture.fixes) == (*shape, ())
    assert (picture.pixels.dtype, picture.pixels.shape) == (np.uint8, (size, size, 3))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_same_pixels(kind: str) -> None:
    image = noise(40, 30)
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = decode(encoded(image, kind, **options), SIZE, LIMITS)
    np.testing.assert_array_equal(picture.pixels, stretched(image))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "optimize": True, "subsampling": 0}),
        ("WEBP", {"quality": 95}),
        ("AVIF", {"quality": 95}),
    ],
)
def test_lossy_formats_give_nearly_the_same_pixels(kind: str, options: dict[str, Any]) -> None:
    picture = decode(encoded(gradient(), kind, **options), SIZE, LIMITS)
    assert_near(picture, stretched(gradient()), LOSSY)
    assert picture.fixes == ()


def assert_near(picture: Picture, expected: np.ndarray, most: int) -> None:
    """No sample is further from the expected one than `most`."""
    assert np.abs(picture.pixels.astype(int) - expected).max() <= most


def sixteen_bit(kind: str) -> bytes:
    """The red channel of the gradient with 16 bits a sample."""
    red = np.asarray(gradient())[..., 0].astype(np.uint16)
    return encoded(Image.fromarray(red * 257), kind)


def of_mode(mode: str, kind: str = "PNG") -> bytes:
    """The gradient in another mode of Pillow's."""
    return encoded(gradient().convert(mode), kind)


GREY = gradient().convert("L")
RED = Image.fromarray(np.asarray(gradient())[..., 0])


@pytest.mark.parametrize(
    ("data", "expected", "fix"),
    [
        (of_mode("L"), GREY, "grey_expanded"),
        (of_mode("L", "JPEG"), GREY, "grey_expanded"),
        (of_mode("1"), gradient().convert("1"), "grey_expanded"),
        (of_mode("P"), gradient().convert("P"), "palette_expanded"),
        (of_mode("LA"), GREY, "alpha_flattened"),
        (of_mode("RGBA"), gradient(), "alpha_flattened"),
        (of_mode("CMYK", "JPEG"), gradient(), "cmyk_converted"),
        (of_mode("CMYK", "TIFF"), gradient(), "cmyk_converted"),
        (sixteen_bit("PNG"), RED, "depth_reduced"),
        (sixteen_bit("TIFF"), RED, "depth_reduced"),
    ],
    ids=["L", "L-jpeg", "1", "P", "LA", "RGBA", "CMYK", "CMYK-tiff", "I;16", "I;16-tiff"],
)
def test_every_mode_becomes_rgb_and_says_what_was_done(data: bytes, expected: Image.Image, fix: str) -> None:
    picture = decode(data, SIZE, LIMITS)
    assert picture.fixes == (fix,)
    assert_near(picture, stretched(expected), LOSSY)


def palette_of_two() -> Image.Image:
    """A palette picture, all of its second colour: red."""
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    return image


@pytest.mark.parametrize(
    ("image", "options", "colour"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), {}, (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 255)), {}, (255, 0, 0)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 128)), {}, (255, 127, 127)),
        (Image.new("LA", (8, 8), (0, 0)), {}, (255, 255, 255)),
        (palette_of_two(), {"transparency": 1}, (255, 255, 255)),
        (palette_of_two(), {"transparency": 0}, (255, 0, 0)),
        (palette_of_two(), {"transparency": b"\xff\x80"}, (255, 127, 127)),
        (Image.new("L", (8, 8), 7), {"transparency": 7}, (255, 255, 255)),
        (Image.new("RGB", (8, 8), (7, 7, 7)), {"transparency": (7, 7, 7)}, (255, 255, 255)),
    ],
)
def test_what_is_transparent_lies_on_white(
    image: Image.Image, options: dict[str, Any], colour: tuple[int, int, int]
) -> None:
    picture = decode(encoded(image, "PNG", **options), SIZE, LIMITS)
    assert picture.fixes == ("alpha_flattened",)
    assert (picture.pixels == colour).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_first_frame_stands_for_an_animation(kind: str) -> None:
    red, blue = (Image.new("RGB", (20, 10), colour) for colour in ("red", "blue"))
    data = encoded(red, kind, save_all=True, append_images=[blue, red])
    picture = decode(data, SIZE, LIMITS)
    assert "first_frame" in picture.fixes
    assert_near(picture, stretched(red), LOSSY)


def test_damage_behind_the_first_frame_does_no_harm() -> None:
    data = encoded(noise(60, 40), "GIF", save_all=True, append_images=[noise(60, 40, seed=6)])
    whole, cut = decode(data, SIZE, LIMITS), decode(data[: len(data) * 3 // 4], SIZE, LIMITS)
    np.testing.assert_array_equal(cut.pixels, whole.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_picture_is_put_upright_as_its_exif_says(kind: str, orientation: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95}
    data = encoded(gradient(), kind, exif=turned(orientation), **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    picture = decode(data, SIZE, LIMITS)
    # Stretching before the turn rounds the two passes in another order.
    assert_near(picture, stretched(expected), 2)
    assert picture.fixes == (() if orientation == 1 else ("exif_rotated",))
    assert (picture.width, picture.height) == (90, 60)


@pytest.mark.parametrize(
    "exif",
    [
        turned(0).tobytes(),
        turned(9).tobytes(),
        turned(65535).tobytes(),
        b"Exif\0\0garbage, no TIFF header",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0" + turned(6).tobytes()[6:20],
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04six\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the very EXIF that is broken here
def test_broken_exif_leaves_the_picture_as_it_is(kind: str, exif: bytes) -> None:
    sound = decode(encoded(gradient(), kind), SIZE, LIMITS)
    picture = decode(encoded(gradient(), kind, exif=exif), SIZE, LIMITS)
    np.testing.assert_array_equal(picture.pixels, sound.pixels)
    assert picture.fixes == ()


# --- decode: a large JPEG at a fraction of its scale ---


@pytest.mark.parametrize("shape", [(1500, 2000), (2000, 1500), (1203, 907), (4000, 250)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_draft_decoding_is_close_to_full_decoding(shape: tuple[int, int], mode: str) -> None:
    data = encoded(gradient(*shape).convert(mode), "JPEG", quality=90)
    draft, full = (decode(data, 112, LIMITS, draft=quick) for quick in (True, False))
    assert_near(draft, full.pixels.astype(int), 4)
    assert (draft.width, draft.height, draft.fixes) == (*shape, full.fixes)


def test_jpeg_below_twice_the_draft_factor_is_decoded_whole() -> None:
    side = int(2 * DRAFT_FACTOR * SIZE) - 1
    data = encoded(noise(side, side), "JPEG")
    draft, full = (decode(data, SIZE, LIMITS, draft=quick) for quick in (True, False))
    np.testing.assert_array_equal(draft.pixels, full.pixels)


def test_draft_decoding_keeps_the_orientation() -> None:
    data = encoded(gradient(1200, 800), "JPEG", exif=turned(6), quality=95)
    expected = stretched(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert_near(decode(data, SIZE, LIMITS), expected, 4)


# --- decode: what is no picture, or no longer ---


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b'{"error": "not found"}',
        b"%PNG, but not quite" * 9,
        b"GIF",
        b"\xff\xd8\xff",
        b"PK\x03\x04" + bytes(100),
        bytes(1000),
    ],
)
def test_bytes_of_something_else_are_not_an_image(data: bytes) -> None:
    assert reason_of(decode, data, SIZE, LIMITS) == "not_an_image"


@pytest.mark.parametrize("kind", ["PPM", "TGA", "PCX", "SGI"])
def test_formats_that_pictures_do_not_come_in_stay_shut(kind: str) -> None:
    assert reason_of(decode, encoded(gradient(), kind), SIZE, LIMITS) == "unsupported_format"


@pytest.mark.parametrize(
    "data",
    [
        *(encoded(gradient(), kind) for kind in ("ICO", "PDF", "EPS", "JPEG2000")),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>",
        b"8BPS" + bytes(100),
        b"\xff\x0a" + bytes(100),
    ],
)
def test_picture_of_another_format_is_told_from_what_is_none(data: bytes) -> None:
    assert reason_of(decode, data, SIZE, LIMITS) == "unsupported_format"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_header_that_is_broken_is_a_corrupt_picture(kind: str) -> None:
    data = bytearray(encoded(gradient(), kind))
    data[12:40] = bytes(28)
    assert reason_of(decode, bytes(data), SIZE, LIMITS) == "corrupt"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_picture_cut_short_is_a_failure_and_not_a_grey_area(kind: str, part: float) -> None:
    data = encoded(noise(120, 80), kind)
    assert reason_of(decode, data[: int(len(data) * part)], SIZE, LIMITS) in {"truncated", "corrupt"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_reason_tells_a_cut_picture_from_a_corrupt_one(kind: str) -> None:
    data = encoded(noise(120, 80), kind, exif=turned(6))
    assert reason_of(decode, data[: len(data) // 2], SIZE, LIMITS) == "truncated"


@pytest.mark.parametrize(
    "data",
    [
        png(100, 100, b"\0" * 100),
        png(7000, 7000, b""),
        encoded(noise(30, 20), "BMP").replace(struct.pack("<ii", 30, 20), struct.pack("<ii", 30, 200)),
    ],
)
def test_header_that_promises_more_than_there_is_is_a_failure(data: bytes) -> None:
    assert reason_of(decode, data, SIZE, LIMITS) in {"truncated", "corrupt"}


def test_pixels_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as in the decoder's process
    # 30 GB if it were decoded; the picture itself is missing, so decoding would say `truncated`.
    assert reason_of(decode, png(100_000, 100_000, b""), SIZE, LIMITS) == "too_many_pixels"


@pytest.mark.parametrize(("most", "fits"), [(599, False), (600, True)])
def test_picture_has_too_many_pixels_from_one_over_the_limit(most: int, fits: bool) -> None:
    data, limits = encoded(gradient(30, 20), "PNG"), config.ImageSettings(max_pixels=most)
    if fits:
        assert decode(data, SIZE, limits).width == 30
    else:
        assert reason_of(decode, data, SIZE, limits) == "too_many_pixels"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_oriented_tiff_is_turned_once(orientation: int) -> None:
    """Pillow turns TIFFs while loading; PNGs are turned here: both must end alike, with the stored size."""
    pixels = np.zeros((60, 90, 3), dtype=np.uint8)
    pixels[:20, :30] = (250, 20, 30)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = []
    for name in ("TIFF", "PNG"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, name, exif=exif)
        decoded.append(images.decode(buffer.getvalue(), 32, LIMITS))
    tiff, png = decoded
    assert np.abs(tiff.pixels.astype(int) - png.pixels.astype(int)).max() <= 2
    assert (tiff.width, tiff.height, tiff.fixes) == (png.width, png.height, png.fixes)
    assert (tiff.width, tiff.height) == (90, 60)


# --- decode: depth ---


def tiff(samples: np.ndarray) -> bytes:
    """One band of whatever type the array has."""
    return encoded(Image.fromarray(samples), "TIFF")


RAMP = np.tile(np.linspace(0, 1, 64), (64, 1))


@pytest.mark.parametrize(
    ("samples", "white"),
    [
        (RAMP.astype(np.float32), 1),
        ((RAMP * 255).astype(np.float32), 255),
        ((RAMP * 65535).astype(np.float32), 65535),
        ((RAMP * 1e6).astype(np.float32), 1e6),
        ((RAMP * 2 - 1).astype(np.float32), None),
        ((RAMP * 255).astype(np.int32), 255),
        ((RAMP * 65535).astype(np.int32), 65535),
        ((RAMP * 2**30).astype(np.int32), 2**30),
        ((RAMP * 65535).astype(np.uint16), 65535),
        (np.where(RAMP > 0.99, np.nan, RAMP).astype(np.float32), 1),
    ],
)
def test_samples_of_any_depth_are_scaled_and_not_clipped(samples: np.ndarray, white: float | None) -> None:
    picture = decode(tiff(samples), 64, LIMITS)
    assert picture.fixes == ("depth_reduced",)
    expected = np.rint(RAMP * 255)[..., None]
    known = np.isfinite(samples.astype(np.float64))
    assert np.abs(picture.pixels.astype(int) - expected)[known].max() <= 1


@pytest.mark.parametrize("level", [0.0, 1.0, -3.0, 1e30, np.nan])
def test_float_picture_of_one_level_is_a_picture(level: float) -> None:
    assert decode(tiff(np.full((8, 8), level, np.float32)), SIZE, LIMITS).pixels.shape == (SIZE, SIZE, 3)


def test_transparent_level_of_sixteen_bit_grey_lies_on_the_background() -> None:
    image = Image.fromarray(np.where(np.arange(64) < 32, 500, 40_000).astype(np.uint16)[None].repeat(8, 0))
    picture = decode(encoded(image, "PNG", transparency=500), 64, LIMITS)
    assert picture.fixes == ("depth_reduced", "alpha_flattened")
    assert (picture.pixels[:, :30] == 255).all()
    assert (picture.pixels[:, 34:] == 40_000 >> 8).all()


# --- decode: background and shape ---


def test_what_is_transparent_lies_on_the_background_that_is_set() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    limits = config.ImageSettings(background="#0000Ff")
    assert (decode(encoded(image, "PNG"), SIZE, limits).pixels == (128, 0, 127)).all()


@pytest.mark.parametrize(("shape", "inner"), [((90, 60), (16, 11)), ((60, 90), (11, 16)), ((1, 900), (1, 16))])
def test_padding_keeps_the_shape_in_the_middle_of_the_background(
    shape: tuple[int, int], inner: tuple[int, int]
) -> None:
    limits = config.ImageSettings(resize="pad", background="#102030")
    picture = decode(encoded(noise(*shape), "PNG"), SIZE, limits)
    left, top = (SIZE - inner[0]) // 2, (SIZE - inner[1]) // 2
    middle = np.zeros((SIZE, SIZE), dtype=bool)
    middle[top : top + inner[1], left : left + inner[0]] = True
    expected = np.asarray(noise(*shape).resize(inner, Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(picture.pixels[middle].reshape(expected.shape), expected)
    assert (picture.pixels[~middle] == (0x10, 0x20, 0x30)).all()


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (61, 60), (1, 900), (60, 60)])
def test_cropping_takes_the_square_in_the_middle(shape: tuple[int, int]) -> None:
    picture = decode(encoded(noise(*shape), "PNG"), SIZE, config.ImageSettings(resize="crop"))
    side = min(shape)
    left, top = (shape[0] - side) / 2, (shape[1] - side) / 2
    expected = noise(*shape).resize((SIZE, SIZE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    np.testing.assert_array_equal(picture.pixels, np.asarray(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["pad", "crop"])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_picture_in_its_own_shape_stands_upright(resize: Any, orientation: int, kind: str) -> None:
    data = encoded(gradient(), kind, exif=turned(orientation))
    upright = encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), "PNG")
    limits = config.ImageSettings(resize=resize)
    assert_near(decode(data, SIZE, limits), decode(upright, SIZE, limits).pixels.astype(int), LOSSY)
    assert decode(data, SIZE, limits).sideways is (orientation >= 5)


def test_square_picture_is_the_same_in_every_shape() -> None:
    data = encoded(noise(50, 50), "PNG")
    stretched_one, *others = (decode(data, SIZE, config.ImageSettings(resize=how)).pixels for how in SHAPES)
    for other in others:
        np.testing.assert_array_equal(other, stretched_one)


SHAPES: tuple[Any, ...] = ("stretch", "pad", "crop")


def test_recipe_tells_shapes_and_backgrounds_apart() -> None:
    names = {
        pixel_recipe(config.ImageSettings(resize=how, background=colour))
        for how in SHAPES
        for colour in ("#ffffff", "#FFFFFF", "#000000")
    }
    assert len(names) == 6


# --- decode: huge pictures ---


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "CMYK", "I;16", "RGB"])
@pytest.mark.parametrize("shape", [(700, 500), (500, 701), (3, 4000)])
def test_strips_give_nearly_what_the_whole_gives(
    monkeypatch: pytest.MonkeyPatch, mode: str, shape: tuple[int, int]
) -> None:
    smooth = gradient(*shape)
    if mode == "I;16":
        data = encoded(Image.fromarray(np.asarray(smooth)[..., 0].astype(np.uint16) * 257), "TIFF")
    else:
        data = encoded(smooth.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    whole = decode(data, SIZE, LIMITS)
    monkeypatch.setattr(images, "STRIPS_FROM", 1000)
    monkeypatch.setattr(images, "STRIP_PIXELS", 5000)
    strips = decode(data, SIZE, LIMITS)
    assert_near(strips, whole.pixels.astype(int), 12 if mode == "P" else 4)
    assert strips.fixes == whole.fixes


LINES = BYTES_A_LINE * (100 + 50)


@pytest.mark.parametrize(
    ("kind", "factor"), [("PNG", 4), ("WEBP", 16), ("AVIF", 14), ("GIF", 4), ("TIFF", 7), ("HEIF", 8)]
)
def test_memory_is_reckoned_before_it_is_taken(kind: str, factor: int) -> None:
    formats.readable()
    data = encoded(gradient(100, 50), kind)
    assert decode(data, SIZE, config.ImageSettings(max_decoded_bytes=5000 * factor + LINES)).width == 100
    small = config.ImageSettings(max_decoded_bytes=5000 * factor + LINES - 1)
    assert reason_of(decode, data, SIZE, small) == "too_many_pixels"


@pytest.mark.parametrize("shape", [(1, 12_000_000), (12_000_000, 1)])
def test_rows_and_columns_take_memory_too(shape: tuple[int, int]) -> None:
    assert reason_of(decode, png(*shape, b""), SIZE, LIMITS) == "too_many_pixels"


@pytest.mark.parametrize(("mode", "subsampling", "factor"), [("RGB", 0, 6), ("RGB", 2, 3), ("L", 0, 2), ("CMYK", 0, 8)])
def test_progressive_jpeg_is_reckoned_with_its_coefficients(mode: str, subsampling: int, factor: int) -> None:
    limits = config.ImageSettings(max_decoded_bytes=5000 * factor + LINES - 1)
    image = gradient(100, 50).convert(mode)
    assert decode(encoded(image, "JPEG", subsampling=subsampling), SIZE, limits).width == 100
    progressive = encoded(image, "JPEG", progressive=True, subsampling=subsampling)
    assert reason_of(decode, progressive, SIZE, limits) == "too_many_pixels"
    assert decode(progressive, SIZE, config.ImageSettings(max_decoded_bytes=5000 * factor + LINES)).width == 100


# --- decode: pictures cut short, where that is allowed ---


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_picture_cut_short_is_taken_where_that_is_allowed(kind: str) -> None:
    image = noise(120, 80)
    data = encoded(image, kind)
    picture = decode(data[: len(data) * 9 // 10], SIZE, config.ImageSettings(accept_truncated=True, resize="stretch"))
    assert picture.fixes == (TRUNCATED,)
    above = np.abs(picture.pixels[: SIZE // 2].astype(int) - stretched(image)[: SIZE // 2])
    assert above.mean() < 20
    # and the switch is off again
    assert reason_of(decode, data[: len(data) * 9 // 10], SIZE, LIMITS) == "truncated"


def test_what_is_no_picture_stays_none_where_pictures_may_be_cut_short() -> None:
    limits = config.ImageSettings(accept_truncated=True)
    assert reason_of(decode, b"<html>", SIZE, limits) == "not_an_image"
    assert reason_of(decode, encoded(noise(120, 80), "PNG")[:40], SIZE, limits) in {"truncated", "corrupt"}


# --- decode: frames without content, alpha without meaning, HEIC ---


def frames(kind: str, *images: Image.Image) -> bytes:
    options = {"GIF": {"disposal": 2}, "WEBP": {"lossless": True}}.get(kind, {})
    return encoded(images[0], kind, save_all=True, append_images=list(images[1:]), **options)


CLEAR, WHITE_FRAME = Image.new("RGBA", (90, 60)), Image.new("RGBA", (90, 60), "white")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("empty", [[CLEAR], [WHITE_FRAME], [CLEAR, WHITE_FRAME, CLEAR]])
def test_first_frame_that_shows_anything_stands_for_an_animation(kind: str, empty: list[Image.Image]) -> None:
    shown = decode(encoded(gradient().convert("RGBA"), "GIF" if kind == "GIF" else "PNG"), SIZE, LIMITS)
    for behind in ([], [CLEAR]):
        found = decode(frames(kind, *empty, gradient().convert("RGBA"), *behind), SIZE, LIMITS)
        assert_near(found, shown.pixels.astype(int), 8)
        assert found.fixes[0] == "first_frame"


@pytest.mark.parametrize(("colours", "outside"), [(2, (255, 255, 255)), (255, (255, 255, 255)), (256, (200, 0, 0))])
def test_what_a_gif_leaves_of_its_canvas_is_background(colours: int, outside: tuple[int, ...]) -> None:
    inner = Image.frombytes("P", (32, 32), bytes(n % colours for n in range(32 * 32)))
    inner.putpalette([200, 0, 0] + [0, 200, 0] * 255)
    data = bytearray(encoded(inner, "GIF", optimize=False))
    data[6:10] = struct.pack("<HH", 64, 64)
    pixels = decode(bytes(data), 64, LIMITS).pixels
    assert tuple(pixels[0, 1]) == (0, 200, 0)
    assert tuple(pixels[-1, -1]) == outside


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animation_that_shows_nothing_is_empty(kind: str) -> None:
    steps = [CLEAR.copy() for _ in range(3)]
    steps[1].putpixel((0, 0), (255, 255, 255, 255))  # equal frames would be left out
    assert (decode(frames(kind, *steps), SIZE, LIMITS).pixels == 255).all()


def bmp(alpha: int, *, masks: tuple[int, ...] = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)) -> bytes:
    """A BMP of 32 bits with a mask for alpha, of the second row the gradient's colours."""
    pixels = np.dstack([np.asarray(gradient())[::-1, :, ::-1], np.full((60, 90), alpha, np.uint8)]).tobytes()
    header = struct.pack("<IiiHHIIiiII4I", 108, 90, 60, 1, 32, 3, len(pixels), 0, 0, 0, 0, *masks).ljust(108, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(pixels), 0, 0, 14 + 108) + header + pixels


@pytest.mark.parametrize("masks", [(0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0, 0, 0, 0)])
def test_alpha_of_a_bmp_that_nobody_has_set_is_none(masks: tuple[int, ...]) -> None:
    picture = decode(bmp(0, masks=masks), SIZE, LIMITS)
    assert_near(picture, stretched(gradient()), 0)
    assert picture.fixes == ()
    assert decode(bmp(128), SIZE, LIMITS).fixes == ("alpha_flattened",)


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (30, 6, "unsupported_format"),  # alpha among the masks
        (30, 5, "unsupported_format"),  # a PNG inside
        (28, 2, "unsupported_format"),  # 2 bits
        (28, 99, "corrupt"),
        (30, 99, "corrupt"),
    ],
)
def test_rare_kind_of_bmp_is_no_broken_one(position: int, value: int, reason: str) -> None:
    data = bytearray(encoded(gradient(), "BMP"))
    data[position] = value
    assert reason_of(decode, bytes(data), SIZE, LIMITS) == reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_in_xmp_alone_turns_nothing(kind: str) -> None:
    words = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", words.decode())
        data = encoded(gradient(), kind, pnginfo=info)
    else:
        data = encoded(gradient(), kind, xmp=words)
    assert Image.open(io.BytesIO(data)).getexif()[ORIENTATION] == 6  # what Pillow makes of it
    assert decode(data, SIZE, LIMITS).fixes == ()


def heic(image: Image.Image, **options: Any) -> bytes:
    formats.readable()
    return encoded(image, "HEIF", quality=95, **options)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_heic_is_read(mode: str) -> None:
    picture = decode(heic(gradient().convert(mode)), SIZE, LIMITS)
    assert_near(picture, stretched(gradient().convert(mode)), 10)
    assert (picture.width, picture.height) == (90, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_once(orientation: int) -> None:
    image = gradient()
    image.info["exif"] = turned(orientation).tobytes()  # from here, the encoder writes it as the container's turn too
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(gradient(), "PNG", exif=turned(orientation)))))
    assert_near(decode(heic(image), SIZE, LIMITS), stretched(shown), 10)


def test_orientation_of_a_heic_in_exif_alone_turns_nothing() -> None:
    assert_near(decode(heic(gradient(), exif=turned(6)), SIZE, LIMITS), stretched(gradient()), 10)


def test_heic_of_several_pictures_or_of_tiles_is_read() -> None:
    several = heic(gradient(), save_all=True, append_images=[Image.new("RGB", (90, 60))], primary_index=0)
    tiles = heic(gradient(180, 120), tile_size=64)
    for data in (several, tiles):
        assert_near(decode(data, SIZE, LIMITS), stretched(gradient()), 12)


def test_limits_on_size_hold_for_heic_before_it_is_decoded() -> None:
    assert reason_of(decode, heic(gradient()), SIZE, config.ImageSettings(max_pixels=5399)) == "too_many_pixels"
