"""Draw the picture of a garment: cut from cloth by its shape (shapes.py), turned, lit and photographed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from lookalike.demo.shapes import BRUSHES, KINDS, Points, layers

RGB = tuple[int, int, int]

WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)
COLOURS: Mapping[str, RGB] = {
    "black": (36, 36, 40),
    "white": (244, 243, 240),
    "grey": (142, 145, 150),
    "navy": (34, 46, 92),
    "blue": (74, 134, 206),
    "red": (196, 40, 48),
    "green": (58, 128, 76),
    "yellow": (236, 190, 60),
    "pink": (236, 150, 178),
    "brown": (122, 78, 48),
}
PATTERNS = ("plain", "stripes", "dots", "checks")
# Top and bottom colour of a picture's background: white, light grey, soft gradient, warm.
BACKDROPS: tuple[tuple[RGB, RGB], ...] = (
    (WHITE, WHITE),
    ((234, 235, 237), (234, 235, 237)),
    ((250, 250, 252), (212, 215, 222)),
    ((250, 243, 232), (240, 228, 212)),
)
OVERSAMPLING = 2


class Placement(NamedTuple):
    """Where the unit square lies on a canvas: pixels = points @ matrix + origin."""

    canvas: tuple[int, int]  # width, height
    matrix: Points  # (2, 2)
    origin: Points  # (2,)

    def pixels(self, points: Points) -> list[tuple[float, float]]:
        """Map (n, 2) points of the unit square to n (x, y) pixels."""
        return [(x, y) for x, y in (points @ self.matrix + self.origin).tolist()]

    def pixel_width(self, width: float) -> int:
        """Return a stroke's width in pixels, at least one."""
        return max(1, round(width * float(np.hypot(*self.matrix[1]))))

    def blank_mask(self) -> Image.Image:
        """Return an L picture of zeros."""
        return Image.new("L", self.canvas)


def draw_picture(
    kind: str,
    colour: str,
    pattern: str,
    rng: np.random.Generator,
    size: tuple[int, int] = (320, 400),
) -> Image.Image:
    """Draw one product as an RGB picture of `size` (width, height) pixels.

    Raises ValueError for a kind, colour or pattern that is not in KINDS, COLOURS or PATTERNS.
    """
    if kind not in KINDS or colour not in COLOURS or pattern not in PATTERNS:
        raise ValueError(
            f"Cannot draw {kind!r}, {colour!r}, {pattern!r}: choose from {KINDS}, {tuple(COLOURS)}, {PATTERNS}."
        )
    placement = _placed((size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), rng)
    paints = _paints(COLOURS[colour], rng)
    cloth = _cloth(pattern, paints, placement, rng)
    garment, mask = (layer.reduce(OVERSAMPLING) for layer in _garment(kind, cloth, paints, placement))
    picture = _backdrop(size, rng)
    picture.paste((60, 60, 72), mask=_shadow(mask))
    picture.paste(garment, mask=mask)
    return picture


def _placed(canvas: tuple[int, int], rng: np.random.Generator) -> Placement:
    """Return a placement that turns the unit square up to 8 degrees, scales, stretches, shifts and may flip it."""
    side = min(canvas) * rng.uniform(0.78, 0.94)
    turn = np.radians(rng.uniform(-8, 8))
    stretch = rng.choice([-1, 1]) * rng.uniform(0.94, 1.06)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    matrix = side * np.diag([stretch, 1.0]) @ rotation
    centre = np.array(canvas) * (0.5 + rng.uniform(-0.03, 0.03, 2))
    return Placement(canvas, matrix, centre - np.array([0.5, 0.5]) @ matrix)


def _mix(one: RGB, other: RGB, share: float) -> RGB:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _paints(colour: RGB, rng: np.random.Generator) -> dict[str, RGB]:
    base = _mix(colour, WHITE if rng.random() < 0.5 else BLACK, rng.uniform(0, 0.1))
    brightness = sum(base) / 3
    # Details in a darker shade cannot be seen on black or navy, nor white laces on white.
    edge = BLACK if brightness > 65 else WHITE
    return {
        "base": base,
        "shade": _mix(base, edge, 0.16),
        "deep": _mix(base, edge, 0.36),
        "contrast": (246, 245, 241) if brightness < 200 else _mix(base, BLACK, 0.3),
        "ink": _mix(base, BLACK, 0.45) if brightness > 140 else _mix(base, WHITE, 0.7),
        "tread": (44, 38, 36) if brightness > 65 else (120, 96, 72),
        "metal": (196, 172, 110) if rng.random() < 0.5 else (176, 180, 186),
    }


def _backdrop(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    top, bottom = BACKDROPS[int(rng.integers(len(BACKDROPS)))]
    picture = Image.new("RGB", size, top)
    picture.paste(bottom, mask=Image.linear_gradient("L").resize(size))
    return picture


def _shadow(mask: Image.Image) -> Image.Image:
    # Blurred at a quarter of the size: it looks the same and the blur covers 16 times fewer pixels.
    small = mask.reduce(4).filter(ImageFilter.GaussianBlur(2)).point(lambda level: level * 0.4)
    soft = small.resize(mask.size, Image.Resampling.BILINEAR)
    shadow = Image.new("L", mask.size)
    shadow.paste(soft, (mask.width // 90, mask.width // 36))
    return shadow


def _cloth(pattern: str, paints: Mapping[str, RGB], placement: Placement, rng: np.random.Generator) -> Image.Image:
    """Return a canvas of patterned cloth, to cut garments from."""
    pitch = rng.uniform(0.055, 0.1)
    turn = rng.choice([0, np.pi / 2, np.pi / 4], p=[0.5, 0.35, 0.15])
    ink = placement.blank_mask()
    if pattern == "stripes":
        ink = _stripes(placement, pitch, turn)
    elif pattern == "dots":
        ink = _dots(placement, pitch)
    elif pattern == "checks":  # darker where the stripes cross, as gingham is
        warp, weft = _stripes(placement, pitch, 0), _stripes(placement, pitch, np.pi / 2)
        ink = ImageChops.add(warp, weft, scale=2)
    cloth = Image.new("RGB", placement.canvas, paints["base"])
    cloth.paste(paints["ink"], mask=ink)
    light_from_above = Image.linear_gradient("L").point(lambda level: level * 0.12)
    cloth.paste(BLACK, mask=light_from_above.resize(placement.canvas))
    return cloth


def _stripes(placement: Placement, pitch: float, turn: float) -> Image.Image:
    mask = placement.blank_mask()
    draw = ImageDraw.Draw(mask)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    for offset in np.arange(-0.8, 0.8, pitch):
        ends = 0.5 + offset * across + np.array([[-0.8], [0.8]]) * along
        draw.line(placement.pixels(ends), fill=255, width=placement.pixel_width(pitch * 0.45))
    return mask


def _dots(placement: Placement, pitch: float) -> Image.Image:
    mask = placement.blank_mask()
    draw = ImageDraw.Draw(mask)
    rows, columns = np.mgrid[-0.1:1.1:pitch, -0.1:1.1:pitch]
    columns[::2] += pitch / 2
    for centre in placement.pixels(np.column_stack([columns.ravel(), rows.ravel()])):
        draw.circle(centre, placement.pixel_width(pitch * 0.24), fill=255)
    return mask


def _garment(
    kind: str, cloth: Image.Image, paints: Mapping[str, RGB], placement: Placement
) -> tuple[Image.Image, Image.Image]:
    """Return the painted garment and its mask."""
    # Edge pixels blend with what lies outside the garment: a dark shade of it reads as an outline.
    garment = Image.new("RGB", placement.canvas, paints["deep"])
    mask = placement.blank_mask()
    for brush, points in layers(kind):
        paint, width = BRUSHES[brush]
        outline = placement.pixels(points)
        stroke = placement.pixel_width(width) if width else 0
        _draw_path(mask, outline, 255, stroke)
        if brush == "cloth":
            piece = placement.blank_mask()
            _draw_path(piece, outline, 255, 0)
            garment.paste(cloth, mask=piece)
            # White on white has no edge without a line around it.
            stroke = placement.pixel_width(BRUSHES["seam"][1])
        _draw_path(garment, outline, paints[paint], stroke)
    return garment, mask


def _draw_path(image: Image.Image, outline: list[tuple[float, float]], fill: int | RGB, stroke: int) -> None:
    """Fill the outline or, where `stroke` is not 0, draw along it with a round pen."""
    draw = ImageDraw.Draw(image)
    if not stroke:
        draw.polygon(outline, fill=fill)
        return
    draw.line(outline, fill=fill, width=stroke, joint="curve")
    for end in (outline[0], outline[-1]):
        draw.circle(end, stroke / 2, fill=fill)
