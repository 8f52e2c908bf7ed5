"""The tables of docs/scale.md, by the formulas that the run uses.

PYTHONPATH=lib:tests python -m support.scale_page    # writes them into the page
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mix_table

from lookalike import config
from lookalike.estimates import RunEstimate, duration
from lookalike.knn import planner
from support.drawn import ROOT

PAGE = ROOT / "docs/scale.md"

# Items, in groups of 50,000.
CATALOGUES = {"1 million": 1_000_000, "10 million": 10_000_000, "a billion": 1_000_000_000}
GROUP = 50_000
CORES = (4, 100, 400)

# Pictures a second of one thread: OpenVINO, int8, 224 px.
SPEED = 76.0
CHANGED = 0.01

# Sizes of one group that holds the whole catalogue.
WHOLE = {"100,000": 100_000, "1 million": 1_000_000, "10 million": 10_000_000, "100 million": 100_000_000}

# Seconds of two cores, see docs/performance.md: 100,000 photos of 112 px in one group, of which one
# thread embeds 202 a second; and a million vectors in uneven groups. 1 % changed on the nights.
MEASURED: dict[str, tuple[list[int], int | None, dict[str, float]]] = {
    "100,000 photos": (
        [100_000],
        None,
        {"read": 9.4, "embed": 357.9, "index": 16.6, "neighbours": 17.7, "quality": 8.3},
    ),
    "a night of them": (
        [100_000],
        1_000,
        {"read": 8.5, "embed": 14.9, "index": 2.3, "neighbours": 4.9, "quality": 10.2},
    ),
    "a million vectors, 150 groups": (
        mix_table.zipf_sizes(1_000_000, 150, 60_000),
        None,
        {"index": 185.5, "neighbours": 116.0},
    ),
    "a night of these": (
        mix_table.zipf_sizes(1_000_000, 150, 60_000),
        10_000,
        {"index": 7.2, "neighbours": 31.7},
    ),
}

_BYTES = (
    ("release", "release_bytes"),
    ("of it embeddings", "embeddings_bytes"),
    ("index", "index_bytes"),
    ("lists", "lists_bytes"),
    ("new on the disk while it runs", "disk_bytes"),
)

Rows = list[list[str]]


def settings() -> config.Settings:
    """The defaults."""
    return config.Settings.model_validate({"catalogue": {"path": "c.parquet"}, "warehouse": {"path": "w"}})


def estimate(items: int, cores: int, came: int | None = None, group: int = GROUP) -> RunEstimate:
    """The run over a catalogue in groups of so many items."""
    return RunEstimate([group] * (items // group), came, SPEED, cores, settings())


def tables() -> dict[str, Rows]:
    """The tables by their headings, the head of each first."""
    return {
        "Seconds from nothing": _by_cores("seconds", lambda items, cores: _seconds(estimate(items, cores))),
        "Seconds of a night": _by_cores(
            "seconds", lambda items, cores: _seconds(estimate(items, cores, round(CHANGED * items)))
        ),
        "Tasks": _by_cores(
            "tasks", lambda items, cores: {name: f"{count:,}" for name, count in estimate(items, cores).tasks().items()}
        ),
        "Bytes": _bytes(),
        "One group": _whole(),
        "How the constants were checked": _checked(),
    }


def said() -> str:
    """What a run says of one of the catalogues."""
    return next(estimate(CATALOGUES["1 million"], 100).lines(PAGE.parent))


def _seconds(found: RunEstimate) -> dict[str, str]:
    seconds = found.seconds()
    return {name: duration(one) for name, one in {**seconds, "all": sum(seconds.values())}.items()}


def _by_cores(corner: str, cells: Callable[[int, int], dict[str, str]]) -> Rows:
    """A line a step, and a column for each catalogue and number of cores."""
    columns = {
        f"{name}, {cores} cores": cells(items, cores)
        for name, items in CATALOGUES.items()
        for cores in CORES
        if corner != "tasks" or items < 10**9 or cores == max(CORES)  # 320,000 blocks of queries take a second to pack
    }
    steps = next(iter(columns.values()))
    return [[corner, *columns], *([step, *(column[step] for column in columns.values())] for step in steps)]


def _bytes() -> Rows:
    columns = {}
    for name, items in CATALOGUES.items():
        columns[f"{name}, from nothing"] = estimate(items, 4)
        columns[f"{name}, a night"] = estimate(items, 4, round(CHANGED * items))
    lines = [[what, *(gigabytes(getattr(one, field)) for one in columns.values())] for what, field in _BYTES]
    return [["", *columns], *lines]


def _whole() -> Rows:
    """The search where one group holds all items, and the memory that its tasks need."""
    lines = []
    for name, items in WHOLE.items():
        seconds = (duration(estimate(items, cores, group=items).neighbours_seconds) for cores in CORES)
        memory = max(settings().similar.task_memory, 2 * planner.held_bytes(items))
        lines.append([name, f"{memory / 2**20:,.0f} MiB", *seconds])
    head = ["items of the group", "`similar.task_memory`, at least", *(f"neighbours, {cores} cores" for cores in CORES)]
    return [head, *lines]


def _checked() -> Rows:
    """What the run expects next to what was measured."""
    steps = list(next(iter(MEASURED.values()))[2])
    columns = [steps]
    for sizes, came, measured in MEASURED.values():
        expected = RunEstimate(sizes, came, 202.0, 2, settings()).seconds()
        columns += [[f"{found[one]:.1f}" if one in measured else "" for one in steps] for found in (expected, measured)]
    head = ["seconds", *(f"{name}: {kind}" for name in MEASURED for kind in ("expected", "measured"))]
    return [head, *(list(row) for row in zip(*columns, strict=True))]


def gigabytes(size: int) -> str:
    """Bytes as GB, or TB."""
    return f"{size / 1e9:,.1f} GB" if size < 1e12 else f"{size / 1e12:,.1f} TB"


def write(page: Path = PAGE) -> None:
    """Replace the first table below each heading, and the line of a run."""
    text = re.sub(
        r"^( +)[\d,]+ pictures in .*$", rf"\g<1>{said()}", page.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    for heading, (head, *rows) in tables().items():
        lines = [head, ["---"] * len(head), *rows]
        table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        found = re.search(rf"^## {heading}\n[^|]*?\n(?=\|)((?:\|.*\n)+)", text, re.MULTILINE)
        assert found, heading
        text = text[: found.start(1)] + table + text[found.end(1) :]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
