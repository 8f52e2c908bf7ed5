"""The plots of a page as inline SVG: text stays text, and colours are those of the page, light or dark.

Only figures and words of this project are drawn; what comes from the catalogue stands in tables next to them.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Pixels of the drawing: it is shown at 0.9 to 1.4 times that size, so that its text can be read on a phone.
WIDTH, HEIGHT = 330, 190
_DPI = 72

# Units of time, their seconds, and from how many on they are used.
_UNITS = (("hours", 3600, 5 * 3600), ("minutes", 60, 5 * 60), ("seconds", 1, 0))

# A release that took so many times the usual is cut, and its figure is written over its bar.
_LONG = 4

# The colours that are drawn, and the variables of the page's styles that take their place.
TEXT, FAINT, LINE = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0{number}0{number}0{number}" for number in range(4, 9))
_VARIABLES = {TEXT: "text", FAINT: "faint", LINE: "line"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)
}

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lookalike",  # the same figures give the same bytes
    "text.parse_math": False,
    "font.size": 11,
    "text.color": TEXT,
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "ytick.left": False,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.handlelength": 1,
    "legend.columnspacing": 1.2,
}


def scores(best: Sequence[int], last: Sequence[int]) -> str:
    """Return a histogram of scores: of the first and of the last neighbour of each list, in bins from -1 to 1.

    Nothing for no list.
    """
    if not sum(best):
        return ""
    edges = np.linspace(-1, 1, len(best) + 1)
    there = np.flatnonzero(np.add(best, last))
    shown = slice(there[0], there[-1] + 1)
    with _plot("scores") as (axes, svg):
        for counts, colour, label in ((last, SERIES[1], "last neighbour"), (best, SERIES[0], "first neighbour")):
            shares = 100 * np.asarray(counts[shown]) / max(1, sum(counts))
            bounds = edges[shown.start : shown.stop + 1]
            axes.stairs(shares, bounds, fill=True, color=colour, alpha=0.8, label=label)
        axes.set_xlabel("score")
        axes.set_ylabel("of the lists")
        axes.locator_params(axis="y", nbins=4, steps=[1, 2, 5, 10])
        axes.yaxis.set_major_formatter("{x:g} %")
        _legend(axes, 2, reverse=True)
    return svg()


def seconds(names: Sequence[str], steps: Mapping[str, Sequence[float]]) -> str:
    """Return a bar for each release, with its `steps` on top of each other; `names` stand below the bars.

    Nothing for a single release. A bar that is much longer than usual is cut, and says how long it was.
    """
    if len(names) < 2:
        return ""
    places, bottom = np.arange(len(names)), np.zeros(len(names))
    totals = np.sum(list(steps.values()), axis=0)
    top = _top(totals)
    unit, size = next((unit, size) for unit, size, least in _UNITS if min(top, totals.max()) >= least)
    with _plot("seconds") as (axes, svg):
        for (step, took), colour in zip(steps.items(), SERIES, strict=False):
            height = np.asarray(took) / size
            axes.bar(places, height, 0.7, bottom, color=colour, label=step)
            bottom = bottom + height
        for place in np.flatnonzero(totals > top):
            axes.annotate(f"{totals[place] / size:,.0f} ↑", (place, top / size), ha="center", va="bottom", fontsize=9)
        axes.set_ylim(0, top / size)
        shown = places[:: -(-len(names) // 5)]
        axes.set_xticks(shown, [names[place] for place in shown])
        axes.tick_params(axis="x", length=0)
        axes.locator_params(axis="y", nbins=4)
        axes.yaxis.set_major_formatter("{x:,.6g}")
        axes.set_ylabel(unit)
        _legend(axes, 3, above=0.12 if totals.max() > top else 0)
    return svg()


def _top(totals: NDArray[np.float64]) -> float:
    """Return where the axis ends: a first run, which embeds everything, would leave the nights after it no height."""
    usual = float(np.median(totals))
    return 1.3 * max([usual, *totals[totals <= _LONG * usual]]) or 1.0


def lines(name: str, names: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Return a line for each of `series` over releases, whose `names` stand below; NaN is a gap.

    Nothing for a single release. `name` tells the plots of one page apart.
    """
    if len(names) < 2:
        return ""
    places = np.arange(len(names))
    with _plot(name) as (axes, svg):
        for (label, values), colour in zip(series.items(), SERIES, strict=False):
            axes.plot(places, np.asarray(values, float), color=colour, label=label, marker="o", markersize=3)
        shown = places[:: -(-len(names) // 5)]
        axes.set_xticks(shown, [names[place] for place in shown])
        axes.tick_params(axis="x", length=0)
        axes.locator_params(axis="y", nbins=4)
        axes.yaxis.set_major_formatter("{x:,.6g}")
        if len(series) > 1:
            _legend(axes, 2)
    return svg()


def _legend(axes: Axes, columns: int, *, reverse: bool = False, above: float = 0) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1 + above), ncols=columns, borderaxespad=0.2, reverse=reverse)


@contextmanager
def _plot(name: str) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Yield axes to draw on, and what returns the drawing as SVG for a page."""
    # It takes a second to import, and no page may be wanted. What it says of its cache, where there is no home, helps
    # nobody who reads the log.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure((WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, layout="constrained")
        FigureCanvasSVG(figure)

        def svg() -> str:
            file = io.StringIO()
            with matplotlib.rc_context(_STYLE):
                figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
            return _for_page(file.getvalue(), name)

        yield figure.subplots(), svg


def _for_page(svg: str, name: str) -> str:
    """Return the element alone, with ids of its own, the colours and the font of the page, and a size that adapts."""
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true" focusable="false">', svg)
    svg = re.sub(r"font-family: [^;\"]*; ?", "", re.sub(r"font: ([\d.]+px) ", r"font-size: \1; font-family: ", svg))
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.strip()
