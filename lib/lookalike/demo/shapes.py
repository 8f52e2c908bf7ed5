"""The shapes of the drawn garments: data, and its reader.

A garment is brushes from back to front, each followed by SVG-like paths ("M x y", "L x y ...",
"Q cx cy x y") in a unit square, x to the right and y down.
"""

import functools
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

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


@functools.cache
def layers(kind: str) -> tuple[tuple[str, Points], ...]:
    """Return a kind's layers from back to front: brush and (n, 2) points of the unit square."""
    found = []
    for brush, paths in re.findall(r"([a-z]+)([^a-z]+)", MIRRORED.get(kind) or SIDE_VIEWS[kind]):
        for path in paths.split("M")[1:]:
            points = _flattened(path)
            found.append((brush, points))
            if kind in MIRRORED:
                found.append((brush, points * (-1, 1) + (1, 0)))
    return tuple(found)


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
