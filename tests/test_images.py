"""Pictures drawn here, in every format and every state of damage: pixels, or a reason from the closed list."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from lookalike import config, images
from lookalike.images import (
    DRAFT_FACTOR,
    REASONS,
    ImageError,
    Picture,
    content_hash,
    decode,
    join_root,
    read,
    version,
)

LIMITS = config.Images()
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


# --- read ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of every unpleasant kind."""
    (tmp_path / "a b.jpg").write_bytes(b"spaced")
    (tmp_path / "50%20off.jpg").write_bytes(b"percent")
    (tmp_path / "item#1?.jpg").write_bytes(b"signs")
    (tmp_path / "été.jpg").write_bytes(b"accents")
    (tmp_path / "two\nlines.jpg").write_bytes(b"newline")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "five.jpg").write_bytes(b"12345")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to("gone.jpg")
    (tmp_path / "link.jpg").symlink_to("five.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        ("{}/five.jpg", b"12345"),
        ("{}/link.jpg", b"12345"),
        ("{}/./x/../five.jpg", None),
        ("{}/a b.jpg", b"spaced"),
        ("{}/50%20off.jpg", b"percent"),
        ("{}/item#1?.jpg", b"signs"),
        ("{}/été.jpg", b"accents"),
        ("{}/two\nlines.jpg", b"newline"),
        ("file://{}/a%20b.jpg", b"spaced"),
        ("file:{}/a%20b.jpg", b"spaced"),
        ("FILE://{}/a%20b.jpg", b"spaced"),
        ("file://localhost{}/a%20b.jpg", b"spaced"),
        ("file://{}/50%2520off.jpg", b"percent"),
        ("file://{}/item%231%3F.jpg", b"signs"),
        ("file://{}/%C3%A9t%C3%A9.jpg", b"accents"),
    ],
)
def test_bytes_of_a_path_or_a_file_uri(folder: Path, uri: str, content: bytes | None) -> None:
    if content is None:
        assert reason_of(read, uri.format(folder), LIMITS) == "not_found"
    else:
        assert read(uri.format(folder), LIMITS) == content


UNREADABLE = [
    ("{}/gone.jpg", "not_found"),
    ("file://{}/gone.jpg", "not_found"),
    ("{}/dangling.jpg", "not_found"),
    ("{}/five.jpg/deeper.jpg", "not_found"),
    ("{}", "not_found"),
    ("{}/", "not_found"),
    ("{}/fifo.jpg", "not_found"),
    ("/dev/zero", "not_found"),
    ("file:", "not_found"),
    ("{}/empty.jpg", "empty"),
    ("{}/loop.jpg", "bad_uri"),
    ("{}/nul\0.jpg", "bad_uri"),
    ("file://{}/nul%00.jpg", "bad_uri"),
    ("{}/\ud800.jpg", "bad_uri"),
    ("{}/" + 300 * "x", "bad_uri"),
    ("{}/" + 5000 * "x/", "bad_uri"),
    ("file://elsewhere{}/five.jpg", "bad_uri"),
    ("s3://bucket/five.jpg", "bad_uri"),
    ("https://example.com/five.jpg", "bad_uri"),
    ("http://[five.jpg", "bad_uri"),
    ("", "bad_uri"),
    (" \t", "bad_uri"),
]


@pytest.mark.parametrize(("uri", "reason"), UNREADABLE)
def test_what_cannot_be_read_has_a_reason(folder: Path, uri: str, reason: str) -> None:
    assert reason_of(read, uri.format(folder), LIMITS) == reason


@pytest.mark.parametrize(("uri", "reason"), [case for case in UNREADABLE if case[1] != "empty"])
def test_what_has_no_version_has_the_same_reason(folder: Path, uri: str, reason: str) -> None:
    assert reason_of(version, uri.format(folder)) == reason


@pytest.mark.parametrize("permanent", [True, False])
def test_reason_of_the_bytes_is_for_good_and_one_of_the_place_may_pass(permanent: bool) -> None:
    of_the_place = {"not_found", "forbidden", "server_error"}
    assert {reason for reason, found in REASONS.items() if found is permanent} == (
        set(REASONS) - of_the_place if permanent else of_the_place
    )


@pytest.mark.parametrize("uri", ["{}/a b.jpg", "file://{}/a%20b.jpg", "FILE:{}/a%20b.jpg"])
def test_version_is_the_size_and_the_nanosecond_of_the_last_change(folder: Path, uri: str) -> None:
    os.utime(folder / "a b.jpg", ns=(0, 1_700_000_000_123_456_789))
    assert version(uri.format(folder)) == "6-1700000000123456789"


def test_version_of_a_link_is_that_of_what_it_points_to(folder: Path) -> None:
    assert version(str(folder / "link.jpg")) == version(str(folder / "five.jpg"))


def test_version_changes_with_the_time_alone_and_with_the_size_alone(folder: Path) -> None:
    path = folder / "five.jpg"
    versions = []
    for data, time in ((b"12345", 1), (b"12345", 2), (b"123456", 2)):
        path.write_bytes(data)
        os.utime(path, ns=(time, time))
        versions.append(version(str(path)))
    assert versions == ["5-1", "5-2", "6-2"]


def test_version_needs_no_byte_of_the_picture(folder: Path) -> None:
    assert version(str(folder / "empty.jpg")).startswith("0-")
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert version(str(folder / "sparse.jpg")).startswith(f"{1 << 40}-")
    (folder / "five.jpg").chmod(0)
    assert version(str(folder / "five.jpg")).startswith("5-")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_may_be_tried_again(folder: Path) -> None:
    (folder / "five.jpg").chmod(0)
    assert reason_of(read, str(folder / "five.jpg"), LIMITS) == "forbidden"
    assert not REASONS["forbidden"]


@pytest.mark.parametrize(("most", "fits"), [(4, False), (5, True), (6, True)])
def test_file_is_too_large_from_one_byte_over_the_limit(folder: Path, most: int, fits: bool) -> None:
    limits = config.Images(max_bytes=most)
    if fits:
        assert read(str(folder / "five.jpg"), limits) == b"12345"
    else:
        assert reason_of(read, str(folder / "five.jpg"), limits) == "too_large"


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert reason_of(read, str(tmp_path / "sparse.jpg"), LIMITS) == "too_large"


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "a.jpg", "a.jpg"),
        ("", "/a.jpg", "/a.jpg"),
        ("/root", "a.jpg", "/root/a.jpg"),
        ("/root/", "a.jpg", "/root/a.jpg"),
        ("/root//", "b/a.jpg", "/root/b/a.jpg"),
        ("/", "a.jpg", "/a.jpg"),
        ("/root", "/a.jpg", "/a.jpg"),
        ("/root", "file:///a.jpg", "file:///a.jpg"),
        ("/root", "file:/a.jpg", "file:/a.jpg"),
        ("/root", "s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("s3://bucket", "a.jpg", "s3://bucket/a.jpg"),
        ("s3://bucket", "/a.jpg", "/a.jpg"),
        ("images", "a b.jpg", "images/a b.jpg"),
        ("/root", "../a.jpg", "/root/../a.jpg"),
    ],
)
def test_root_stands_before_relative_paths_only(root: str, path: str, expected: str) -> None:
    assert join_root(root, path) == expected


def test_content_hash_is_sha256() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert content_hash(b"") == empty


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
    side = 2 * DRAFT_FACTOR * SIZE - 1
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
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF",
        b"\xff\xd8\xff",
        b"PK\x03\x04" + bytes(100),
        bytes(1000),
    ],
)
def test_bytes_of_something_else_are_not_an_image(data: bytes) -> None:
    assert reason_of(decode, data, SIZE, LIMITS) == "not_an_image"


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "PDF", "EPS", "JPEG2000", "PCX"])
def test_formats_that_pictures_do_not_come_in_stay_shut(kind: str) -> None:
    assert reason_of(decode, encoded(gradient(), kind), SIZE, LIMITS) == "not_an_image"


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
        png(9000, 9000, b""),
        encoded(noise(30, 20), "BMP").replace(struct.pack("<ii", 30, 20), struct.pack("<ii", 30, 200)),
    ],
)
def test_header_that_promises_more_than_there_is_is_a_failure(data: bytes) -> None:
    assert reason_of(decode, data, SIZE, LIMITS) in {"truncated", "corrupt"}


def test_pixels_are_counted_before_they_are_decoded() -> None:
    # 30 GB if it were decoded; the picture itself is missing, so decoding would say `truncated`.
    assert reason_of(decode, png(100_000, 100_000, b""), SIZE, LIMITS) == "too_many_pixels"


@pytest.mark.parametrize(("most", "fits"), [(599, False), (600, True)])
def test_picture_has_too_many_pixels_from_one_over_the_limit(most: int, fits: bool) -> None:
    data, limits = encoded(gradient(30, 20), "PNG"), config.Images(max_pixels=most)
    if fits:
        assert decode(data, SIZE, limits).width == 30
    else:
        assert reason_of(decode, data, SIZE, limits) == "too_many_pixels"


CORPUS = [
    encoded(noise(40, 30), "JPEG", exif=turned(6)),
    encoded(noise(40, 30), "JPEG", progressive=True),
    encoded(noise(40, 30), "PNG"),
    encoded(noise(40, 30).convert("P"), "PNG", transparency=1),
    encoded(noise(40, 30), "GIF", save_all=True, append_images=[noise(40, 30, seed=6)]),
    encoded(noise(40, 30), "WEBP"),
    encoded(noise(40, 30), "BMP"),
    encoded(noise(40, 30), "TIFF", compression="tiff_lzw"),
    encoded(noise(40, 30), "TIFF"),
    encoded(noise(40, 30), "AVIF"),
]


def damaged(rng: random.Random) -> bytes:
    """A picture of the corpus with flipped bits, its end cut off, or another picture's middle."""
    data = bytearray(rng.choice(CORPUS))
    # Most of what parsers trip over is at the front.
    reach = rng.choice([64, 400, len(data)])
    kind = rng.choice(["flip", "cut", "splice"])
    if kind == "flip":
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(min(reach, len(data)))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[rng.randrange(min(reach, len(data))) :]
    else:
        other = rng.choice(CORPUS)
        start, length = rng.randrange(len(other)), rng.randint(1, 200)
        at = rng.randrange(min(reach, len(data)))
        data[at : at + length] = other[start : start + length]
    return bytes(data)


def outcome(data: bytes) -> str:
    """How decoding ends: `picture`, or the reason of the ImageError; anything else is raised."""
    try:
        picture = decode(data, SIZE, config.Images(max_pixels=4_000_000))
    except ImageError as error:
        return error.reason if len(error.detail.splitlines()) == 1 else "not one line"
    return "picture" if picture.pixels.shape == (SIZE, SIZE, 3) else "wrong shape"


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of much that it survives
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_bytes_end_as_a_picture_or_as_an_image_error() -> None:
    rng = random.Random(20)
    outcomes = {outcome(damaged(rng)) for _ in range(300)}
    assert outcomes <= {"picture", *REASONS}
    assert outcomes >= {"picture", "truncated", "corrupt", "not_an_image"}


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
        decoded.append(images.decode(buffer.getvalue(), 32, config.Images()))
    tiff, png = decoded
    assert np.abs(tiff.pixels.astype(int) - png.pixels.astype(int)).max() <= 2
    assert (tiff.width, tiff.height, tiff.fixes) == (png.width, png.height, png.fixes)
    assert (tiff.width, tiff.height) == (90, 60)


@pytest.mark.parametrize("name", ["a#b.jpg", "50%20off.jpg", "what?.jpg", "two\nlines.jpg"])
def test_odd_names_below_a_file_uri_root_are_read_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this one")
    (tmp_path / "a").write_bytes(b"another")
    uri = images.join_root(f"file://{tmp_path}", name)
    assert images.read(uri, config.Images()) == b"this one"


def test_floating_point_tiff_is_an_unsupported_format() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((8, 8), dtype=np.float32)).save(buffer, "TIFF")
    with pytest.raises(images.ImageError, match="unsupported_format"):
        images.decode(buffer.getvalue(), 32, config.Images())
