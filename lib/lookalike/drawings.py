"""Draws a small catalogue of product pictures, offline and from a seed, for the demo and the tests.

A garment is data: brushes from back to front, each followed by SVG-like paths ("M x y",
"L x y ...", "Q cx cy x y") in a unit square, x to the right and y down.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

RGB = tuple[int, int, int]
Points = NDArray[np.float64]

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
# A shop has more black than yellow; at 0.07 the rarest still has about 35 items in 500.
COLOUR_WEIGHTS = (0.16, 0.12, 0.10, 0.12, 0.11, 0.09, 0.08, 0.07, 0.07, 0.08)
PATTERNS = ("plain", "stripes", "dots", "checks")
PATTERN_WEIGHTS = (0.46, 0.22, 0.14, 0.18)
# Top and bottom colour of a picture's background: white, light grey, soft gradient, warm.
BACKDROPS: tuple[tuple[RGB, RGB], ...] = (
    (WHITE, WHITE),
    ((234, 235, 237), (234, 235, 237)),
    ((250, 250, 252), (212, 215, 222)),
    ((250, 243, 232), (240, 228, 212)),
)

# Brush -> (paint, stroke width in units of the square); width 0 fills the path. Cloth is filled
# with the pattern and edged with its paint.
BRUSHES: Mapping[str, tuple[str, float]] = {
    "cloth": ("deep", 0),
    "lining": ("deep", 0),
    "trim": ("shade", 0),
    "sole": ("contrast", 0),
    "tread": ("tread", 0),
    "buckle": ("metal", 0),
    "seam": ("deep", 0.006),
    "rib": ("shade", 0.022),
    "strap": ("shade", 0.045),
    "lace": ("contrast", 0.017),
    "button": ("contrast", 0.024),
    "zip": ("metal", 0.013),
}
# Left halves: every path is drawn again mirrored at x = 0.5.
MIRRORED: Mapping[str, str] = {
    "t_shirt": """
        lining M .5 .11 Q .43 .11 .38 .08 Q .41 .2 .5 .2
        cloth M .5 .2 Q .41 .19 .38 .08 L .27 .12 Q .15 .17 .03 .37 L .17 .46 .25 .36
              Q .27 .65 .25 .94 Q .38 .96 .5 .96
        rib M .5 .21 Q .4 .2 .37 .085
        seam M .27 .12 Q .29 .23 .25 .36 M .05 .34 L .19 .43 M .253 .91 Q .38 .93 .5 .93""",
    "shirt": """
        lining M .5 .07 L .41 .06 .5 .2
        cloth M .5 .18 L .4 .08 .28 .12 Q .18 .15 .15 .3 L .04 .8 .15 .83 .27 .42 .27 .86
              Q .3 .95 .5 .96
        trim M .035 .8 L .06 .72 .18 .75 .15 .83 M .5 .19 L .42 .05 .37 .09 .4 .24 .5 .19
        seam M .5 .19 L .42 .05 .37 .09 .4 .24 .5 .19 M .28 .12 Q .3 .26 .27 .44
             M .472 .22 L .472 .95 M .32 .36 L .43 .36 .43 .47 .375 .5 .32 .47 .32 .36
        button M .5 .27 M .5 .39 M .5 .51 M .5 .63 M .5 .75 M .5 .87""",
    "dress": """
        lining M .5 .1 Q .43 .1 .39 .02 L .41 .2 .5 .2
        cloth M .5 .19 Q .42 .18 .4 .02 L .35 .02 Q .37 .17 .31 .23 Q .36 .33 .375 .42
              Q .3 .64 .16 .93 Q .34 .99 .5 .99
        trim M .5 .4 L .37 .395 .37 .44 .5 .445
        seam M .42 .45 Q .39 .7 .3 .95 M .48 .45 Q .47 .7 .44 .97 M .4 .39 Q .41 .32 .37 .26""",
    "trousers": """
        cloth M .5 .02 L .33 .02 Q .27 .22 .26 .5 L .24 .98 .41 .98 Q .44 .6 .5 .34
        trim M .5 .02 L .33 .02 .32 .075 .5 .075
        seam M .5 .08 L .5 .33 M .4 .08 Q .39 .17 .295 .19 M .36 .25 Q .34 .6 .325 .97
             M .24 .945 L .412 .945 M .385 .015 L .385 .085
        button M .5 .05""",
    "shorts": """
        cloth M .5 .18 L .24 .18 Q .17 .45 .12 .78 L .45 .83 Q .47 .64 .5 .5
        trim M .5 .18 L .24 .18 .227 .25 .5 .25
        seam M .5 .25 L .5 .5 M .35 .25 Q .34 .38 .2 .41 M .127 .735 L .453 .785
        lace M .49 .22 Q .45 .3 .46 .36""",
    "skirt": """
        cloth M .5 .12 L .33 .12 Q .28 .42 .08 .84 Q .28 .92 .5 .92
        trim M .5 .12 L .33 .12 .322 .185 .5 .185
        seam M .37 .19 Q .32 .55 .19 .87 M .43 .19 Q .41 .55 .34 .9 M .5 .19 L .5 .92
             M .095 .81 Q .3 .88 .5 .88""",
    "jacket": """
        lining M .5 .06 L .4 .05 .4 .2 .5 .46
        cloth M .5 .42 L .39 .09 .27 .12 Q .14 .15 .1 .33 L .03 .78 .19 .8 .25 .45 .24 .83 .5 .83
        trim M .03 .76 L .02 .84 .17 .86 .19 .78 M .5 .82 L .24 .82 .26 .91 .5 .91
             M .5 .42 L .41 .03 .36 .09 .33 .25 .38 .29 .35 .32 .5 .5
        seam M .5 .42 L .41 .03 .36 .09 .33 .25 .38 .29 .35 .32 .5 .5 M .27 .12 Q .3 .28 .25 .47
        zip M .5 .42 L .5 .91 M .36 .56 L .3 .72""",
    "handbag": """
        strap M .3 .46 Q .3 .1 .5 .1
        cloth M .5 .4 L .2 .4 Q .16 .4 .15 .45 L .07 .85 Q .07 .92 .14 .92 L .5 .92
        trim M .5 .4 L .18 .4 .155 .5 Q .2 .66 .5 .68
        seam M .155 .5 Q .2 .66 .5 .68 M .09 .87 L .5 .87
        buckle M .5 .61 L .45 .61 .45 .71 .5 .71
        zip M .28 .44 L .32 .44 .32 .49 .28 .49 .28 .44""",
    "backpack": """
        strap M .24 .3 Q .06 .5 .17 .86
        rib M .5 .03 Q .41 .03 .41 .13
        cloth M .5 .09 L .4 .09 Q .22 .1 .21 .34 L .19 .86 Q .19 .95 .28 .95 L .5 .95
        zip M .25 .44 Q .24 .18 .4 .17 L .5 .17
        trim M .19 .6 L .13 .63 .13 .86 Q .14 .91 .19 .91
             M .5 .54 L .29 .54 Q .27 .54 .27 .58 L .26 .84 Q .26 .89 .3 .89 L .5 .89
        seam M .5 .54 L .29 .54 Q .27 .54 .27 .58 L .26 .84 Q .26 .89 .3 .89 L .5 .89
        zip M .31 .61 L .5 .61 lace M .33 .61 L .33 .67
        buckle M .5 .3 L .44 .3 .44 .38 .5 .38""",
}
# Seen from the side, the toe to the left.
SIDE_VIEWS: Mapping[str, str] = {
    "sneaker": """
        lining M .46 .36 L .55 .29 Q .7 .36 .88 .34 L .84 .5 .55 .5
        cloth M .05 .7 Q .03 .57 .19 .54 Q .34 .5 .46 .34 L .54 .29 Q .56 .44 .7 .45
              Q .82 .44 .86 .31 Q .93 .3 .93 .36 Q .91 .5 .96 .7 L .05 .7
        trim M .05 .7 Q .03 .57 .19 .54 Q .27 .6 .27 .7 M .77 .7 Q .79 .55 .91 .47 Q .92 .58 .96 .7
        sole M .03 .68 Q .02 .79 .09 .79 L .93 .79 Q .98 .79 .97 .68
        seam M .03 .68 L .97 .68 M .05 .76 L .95 .76 M .34 .68 Q .5 .6 .57 .45
        lace M .31 .49 L .43 .55 M .36 .45 L .48 .52 M .41 .4 L .52 .48 M .46 .36 L .56 .44
        rib M .58 .66 L .66 .5 M .66 .66 L .73 .51""",
    "boot": """
        lining M .38 .06 L .4 .03 .8 .03 .82 .06 .6 .12
        rib M .8 .06 Q .88 -.02 .82 .16
        cloth M .05 .84 Q .02 .66 .22 .63 Q .4 .6 .42 .42 L .38 .06 Q .6 .1 .82 .06
              Q .8 .4 .87 .6 L .88 .84 .05 .84
        trim M .05 .84 Q .02 .66 .22 .63 Q .32 .72 .31 .84 M .62 .84 Q .64 .65 .85 .56 L .88 .84
        tread M .03 .83 L .9 .83 .9 .95 .64 .95 .61 .9 .06 .9 Q .03 .9 .03 .83
        seam M .53 .09 Q .56 .45 .42 .64
        lace M .39 .14 L .52 .19 M .4 .23 L .53 .28 M .41 .32 L .53 .37 M .41 .41 L .52 .46
             M .39 .5 L .5 .55""",
    "heel": """
        lining M .3 .68 Q .5 .58 .72 .34 Q .8 .26 .88 .3 L .8 .5 .5 .76 .34 .76
        cloth M .03 .85 Q .1 .72 .24 .67 Q .31 .64 .34 .68 Q .42 .76 .54 .66 Q .7 .5 .8 .36
              Q .86 .27 .92 .3 Q .98 .44 .93 .58 Q .8 .58 .68 .7 Q .52 .88 .36 .88 L .05 .88 .03 .85
        trim M .94 .5 Q .95 .6 .92 .92 L .88 .92 Q .88 .7 .8 .61 Q .87 .57 .94 .55
        tread M .03 .86 Q .4 .9 .52 .8 Q .44 .91 .34 .91 L .06 .91 Q .03 .9 .03 .86
              M .873 .9 L .927 .9 .927 .93 .873 .93
        seam M .74 .61 Q .8 .48 .81 .37""",
}
KINDS = (*MIRRORED, *SIDE_VIEWS)
# Every kind once, so that twelve items show them all, then some a second time: at 500 items the
# rarest kind has 26. A rota, because random kinds would leave small catalogues without some.
KIND_ROTA = (*KINDS, "t_shirt", "sneaker", "dress", "jacket", "t_shirt", "trousers", "handbag")

CATALOGUE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "image_path", "kind", "colour", "pattern")]
    + [("price", pa.float64()), ("in_stock", pa.bool_())]
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


def draw_catalogue(folder: Path, items: int = 500, seed: int = 7) -> pa.Table:
    """Draw `items` JPEG pictures under `folder`/images and write `folder`/catalogue.parquet.

    Returns the table: one row an item, `image_path` relative to `folder`. An item depends on
    `seed` and its number only, so a larger catalogue starts with the smaller one's items.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = [_draw_item(folder, number, seed) for number in range(1, items + 1)]
    table = pa.Table.from_pylist(rows, schema=CATALOGUE_SCHEMA)
    pq.write_table(table, folder / "catalogue.parquet")
    return table


def _draw_item(folder: Path, number: int, seed: int) -> dict[str, object]:
    rng = np.random.default_rng([seed, number])
    image_path = f"images/item-{number:04d}.jpg"
    kind = KIND_ROTA[(number - 1) % len(KIND_ROTA)]
    colour = str(rng.choice(list(COLOURS), p=COLOUR_WEIGHTS))
    pattern = str(rng.choice(PATTERNS, p=PATTERN_WEIGHTS))
    quality = int(rng.integers(60, 96))
    draw_picture(kind, colour, pattern, rng).save(folder / image_path, "JPEG", quality=quality)
    return {
        "item_id": f"item-{number:04d}",
        "image_path": image_path,
        "kind": kind,
        "colour": colour,
        "pattern": pattern,
        "price": round(float(rng.lognormal(3.6, 0.5)), 2),  # median about 37
        "in_stock": bool(rng.random() < 0.85),
    }


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
            f"Cannot draw {kind!r}, {colour!r}, {pattern!r}: "
            f"choose from {KINDS}, {tuple(COLOURS)}, {PATTERNS}."
        )
    placement = _placed((size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), rng)
    paints = _paints(COLOURS[colour], rng)
    cloth = _cloth(pattern, paints, placement, rng)
    garment, mask = (
        layer.reduce(OVERSAMPLING) for layer in _garment(kind, cloth, paints, placement)
    )
    picture = _backdrop(size, rng)
    picture.paste((60, 60, 72), mask=_shadow(mask))
    picture.paste(garment, mask=mask)
    return picture


def _placed(canvas: tuple[int, int], rng: np.random.Generator) -> Placement:
    """Turn the unit square up to 8 degrees, scale, stretch, shift and perhaps flip it."""
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


def _cloth(
    pattern: str, paints: Mapping[str, RGB], placement: Placement, rng: np.random.Generator
) -> Image.Image:
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


@functools.cache
def _layers(kind: str) -> tuple[tuple[str, Points], ...]:
    """Return a kind's layers from back to front: brush and (n, 2) points of the unit square."""
    layers = []
    for brush, paths in re.findall(r"([a-z]+)([^a-z]+)", MIRRORED.get(kind) or SIDE_VIEWS[kind]):
        for path in paths.split("M")[1:]:
            points = _flattened(path)
            layers.append((brush, points))
            if kind in MIRRORED:
                layers.append((brush, points * (-1, 1) + (1, 0)))
    return tuple(layers)


def _flattened(path: str) -> Points:
    """Return the (n, 2) points of a path; a Q, a quadratic Bezier curve, becomes 12 lines."""
    points: list[Points] = []
    for command, numbers in re.findall(r"([LQ]?)([^LQ]+)", path):
        pairs = np.array(numbers.split(), dtype=float).reshape(-1, 2)
        if command == "Q":
            t = np.linspace(0, 1, 13)[1:, None]
            start, (control, end) = points[-1], pairs
            points.extend((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end)
        else:
            points.extend(pairs)
    return np.array(points)


def _garment(
    kind: str, cloth: Image.Image, paints: Mapping[str, RGB], placement: Placement
) -> tuple[Image.Image, Image.Image]:
    """Return the painted garment and its mask."""
    # Edge pixels blend with what lies outside the garment: a dark shade of it reads as an outline.
    garment = Image.new("RGB", placement.canvas, paints["deep"])
    mask = placement.blank_mask()
    for brush, points in _layers(kind):
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


def _draw_path(
    image: Image.Image, outline: list[tuple[float, float]], fill: int | RGB, stroke: int
) -> None:
    """Fill the outline or, where `stroke` is not 0, draw along it with a round pen."""
    draw = ImageDraw.Draw(image)
    if not stroke:
        draw.polygon(outline, fill=fill)
        return
    draw.line(outline, fill=fill, width=stroke, joint="curve")
    for end in (outline[0], outline[-1]):
        draw.circle(end, stroke / 2, fill=fill)
