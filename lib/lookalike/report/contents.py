"""What the page of a release shows of its tables: which items, with which lists, and what is measured of all lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lookalike import config
from lookalike.quality import labels, lists
from lookalike.quality.lists import Lists
from lookalike.report import samples
from lookalike.report.samples import LabelledItem
from lookalike.spark import schemas
from lookalike.spark.failed_items import FailedReason
from lookalike.spark.hubs import Hub
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.record import LabelPrecision
from lookalike.warehouse.release import Staged

# Pictures a row; rows that are sampled next to report.items; and rows of each kind of worst lists and of changed ones.
NEIGHBOURS = 6
SAMPLED = 8
WORST = 3
CHANGED = 3

# Lists that are drawn to estimate label precision, to 0.02 at 95 %, and how many lists changed: 20,000 neighbours.
DRAWN = 2_000

Listed = list[tuple[str, float]]  # neighbours with their scores, the best first


@dataclass(frozen=True)
class ShownList:
    """An item and its neighbours; what they were in the release before, where that is shown."""

    item_id: str
    now: Listed
    before: Listed | None = None
    moved: frozenset[str] = frozenset()  # neighbours that are in one of the two whole lists only


@dataclass(frozen=True)
class ScoreBin:
    """How many lists have a first, and a last, neighbour of a score in a bin."""

    name: str
    best: int
    last: int


@dataclass(frozen=True)
class Scores:
    """How many lists have a first and a last neighbour with a score in each of lists.BINS bins."""

    best: Sequence[int]
    last: Sequence[int]

    @classmethod
    def of(cls, found: Lists) -> Scores:
        """Return those of a table."""
        return cls(found.best.tolist(), found.last.tolist())

    def rows(self) -> list[ScoreBin]:
        """Return the bins that are not empty, from the highest score down."""
        width = 2 / len(self.best)
        bins = [
            ScoreBin(f"{place * width - 1:.3f} to {(place + 1) * width - 1:.3f}", best, last)
            for place, (best, last) in enumerate(zip(self.best, self.last, strict=True))
        ]
        return [one for one in reversed(bins) if one.best or one.last]


@dataclass(frozen=True)
class Changes:
    """How many of the drawn lists are in both releases, how many of these have other neighbours, and some of them."""

    compared: int = 0
    differ: int = 0
    shown: Sequence[ShownList] = ()


@dataclass(frozen=True)
class Contents:
    """What the page shows of the tables; `items` and `former` describe all that is named, by id."""

    kept_columns: Sequence[str]
    failed: Sequence[FailedReason]
    hubs: Sequence[Hub]
    chosen: Sequence[ShownList]  # of report.items
    unknown: Sequence[str]  # of report.items too
    sampled: Sequence[ShownList]
    lowest: Sequence[ShownList]
    shortest: Sequence[ShownList]
    changes: Changes
    scores: Scores
    labels: Sequence[LabelPrecision]
    items: Mapping[str, LabelledItem]
    former: Mapping[str, LabelledItem] = field(default_factory=dict)  # those that are in the release before only


def collect(tables: ReleaseTables, before: ReleaseTables | None, settings: config.Settings) -> Contents:
    """Read from the tables of a release in the making what its page shows; it needs no figure of the release.

    A few small queries, none of which brings more than DRAWN lists to the driver.
    """
    chosen, sampled = settings.report.items, _sampled(tables, settings)
    found, embedded = _read(tables, [*chosen, *sampled], settings)
    listed = found.neighbours()
    drawn = {item: listed[item] for item in found.drawn}
    alone = samples.ids_without_list(tables, WORST) if found.count < embedded else []
    lowest, shortest = ([item for _, item in worst] for worst in (found.lowest, found.shortest))
    rows = [_shown(ids, listed) for ids in (chosen, sampled, lowest, [*alone, *shortest][:WORST])]
    changes, hubs = _changes(drawn, before, settings.similar.k), tables.lists.hubs
    named = _named([*(one for row in rows for one in row), *changes.shown]) | {hub.item_id for hub in hubs}
    items = samples.find_items(tables.embeddings, sorted(named))
    gone = sorted(named - items.keys() - set(chosen))
    return Contents(
        kept_columns=schemas.kept_columns(tables.embeddings),
        failed=tables.failed,
        hubs=hubs,
        chosen=[one for one in rows[0] if one.item_id in items],
        unknown=[item for item in chosen if item not in items],
        sampled=rows[1],
        lowest=rows[2],
        shortest=rows[3],
        changes=changes,
        scores=Scores.of(found),
        labels=_labels(tables, drawn, settings),
        items=items,
        former=samples.find_items(before.embeddings, gone) if before and gone else {},
    )


def _sampled(tables: ReleaseTables, settings: config.Settings) -> list[str]:
    found = samples.ids_by_group(tables.embeddings, settings.similar.group_by, SAMPLED)
    return [item for item in found if item not in settings.report.items]


def _read(tables: ReleaseTables, items: Sequence[str], settings: config.Settings) -> tuple[Lists, int]:
    """Return what the lists hold, those of `items` among it, and how many items could have one."""
    staged = tables.release
    assert isinstance(staged, Staged)
    embedded = staged.rows("embeddings")
    wanted = lists.Wanted.some(settings.similar.k, items, DRAWN, embedded, WORST)
    paths = staged.paths("similar_items")
    return lists.read(tables.embeddings.sparkSession, staged.shared, paths, wanted), embedded


def _shown(ids: Sequence[str], listed: Mapping[str, Listed]) -> list[ShownList]:
    return [ShownList(item, listed.get(item, [])[:NEIGHBOURS]) for item in ids]


def _named(rows: Sequence[ShownList]) -> set[str]:
    others = {item for row in rows for item, _ in (*row.now, *(row.before or ()))}
    return others | {row.item_id for row in rows}


def _changes(drawn: Mapping[str, Listed], before: ReleaseTables | None, k: int) -> Changes:
    """Compare the drawn lists to those of the release before; show those of which most neighbours are others."""
    if before is None or not drawn:
        return Changes()
    release, paths = before.release, before.sound_files("similar_items")
    wanted = lists.Wanted(k, frozenset(drawn))
    then = lists.read(before.embeddings.sparkSession, release.shared, paths, wanted).neighbours()
    both = [ShownList(item, now, then[item], _moved(now, then[item])) for item, now in drawn.items() if item in then]
    differ = [_cut(one) for one in both if one.moved]
    shown = sorted(differ, key=lambda one: (-_seen(one), one.item_id))
    return Changes(len(both), len(differ), shown[:CHANGED])


def _moved(now: Listed, then: Listed) -> frozenset[str]:
    return frozenset({item for item, _ in now} ^ {item for item, _ in then})


def _cut(one: ShownList) -> ShownList:
    return replace(one, now=one.now[:NEIGHBOURS], before=(one.before or [])[:NEIGHBOURS])


def _seen(one: ShownList) -> int:
    """Return how many of the neighbours that came or went show in the beginning of the lists."""
    return len(one.moved & _named([one]))


def _labels(tables: ReleaseTables, drawn: Mapping[str, Listed], settings: config.Settings) -> list[LabelPrecision]:
    columns, k = settings.label_columns, min(labels.PRECISION_K, settings.similar.k)
    if not columns or not drawn:
        return []
    ids = {*drawn, *(other for listed in drawn.values() for other, _ in listed[:k])}
    found = samples.find_codes(tables.embeddings, sorted(ids), columns)
    return [labels.precision(drawn, name, labels.of_column(found, name), k) for name in columns]
