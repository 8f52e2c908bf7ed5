"""What the page of a release shows of its tables: which items, with which lists, and what is measured of all lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lookalike import config, id_hash
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

# Neighbours of a list that are described: those that are shown, and those whose labels count.
MOST_NAMED = max(NEIGHBOURS, labels.PRECISION_K)

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

    A few small queries, none of which brings more than DRAWN lists, and the items in them, to the driver.
    """
    found, embedded = _read(tables, settings)
    listed = found.neighbours()
    drawn = {item: listed[item] for item in sorted(found.drawn, key=id_hash.of_one)}
    alone = samples.ids_without_list(tables, WORST) if found.count < embedded else []
    changes, hubs = _changes(drawn, before, settings.similar.k), tables.lists.hubs
    named = {*settings.report.items, *alone, *(hub.item_id for hub in hubs), *_named(changes.shown)}
    named |= _named([ShownList(item, one[:MOST_NAMED]) for item, one in listed.items()])
    kept, chosen = kept_columns(tables, settings), list(dict.fromkeys(settings.report.items))
    known = samples.find_items(tables, _staged(tables).paths("embeddings"), kept, named)
    ids = {
        "chosen": chosen,
        "sampled": _sample([known[item] for item in drawn if item not in chosen], kept, settings),
        "lowest": [item for _, item in found.lowest],
        "shortest": [*alone, *(item for _, item in found.shortest)][:WORST],
    }
    rows = {kind: [_shown(item, listed) for item in items if item in known] for kind, items in ids.items()}
    seen = _named([*changes.shown, *(one for part in rows.values() for one in part)]) | {hub.item_id for hub in hubs}
    gone = sorted(seen - known.keys())
    return Contents(
        **rows,
        kept_columns=kept,
        failed=tables.failed,
        hubs=hubs,
        unknown=[item for item in chosen if item not in known],
        changes=changes,
        scores=Scores.of(found),
        labels=_labels(drawn, known, kept, settings),
        items={item: known[item] for item in seen if item in known},
        former=_former(before, gone, settings) if before and gone else {},
    )


def kept_columns(tables: ReleaseTables, settings: config.Settings) -> list[str]:
    """Return the columns that describe an item: not the one that the rules have made, unless it is asked for."""
    made = {config.ELIGIBLE} - {*settings.label_columns} if settings.similar.eligible else set()
    return [name for name in schemas.kept_columns(tables.embeddings) if name not in made]


def _former(before: ReleaseTables, item_ids: Sequence[str], settings: config.Settings) -> dict[str, LabelledItem]:
    kept = kept_columns(before, settings)
    return samples.find_items(before, before.sound_files("embeddings"), kept, item_ids)


def _shown(item: str, listed: Mapping[str, Listed]) -> ShownList:
    return ShownList(item, listed.get(item, [])[:NEIGHBOURS])


def _read(tables: ReleaseTables, settings: config.Settings) -> tuple[Lists, int]:
    """Return what the lists hold, and how many items could have one."""
    staged = _staged(tables)
    embedded = staged.rows("embeddings")
    wanted = lists.Wanted.some(settings.similar.k, settings.report.items, DRAWN, embedded, WORST)
    paths = staged.paths("similar_items")
    return lists.read(tables.embeddings.sparkSession, staged.shared, paths, wanted), embedded


def _staged(tables: ReleaseTables) -> Staged:
    assert isinstance(tables.release, Staged)
    return tables.release


def _sample(items: Sequence[LabelledItem], kept: Sequence[str], settings: config.Settings) -> list[str]:
    """Return some of the items, in their order, from the groups that have most of them."""
    groups: dict[str, list[str]] = {}
    place = kept.index(settings.similar.group_by) if settings.similar.group_by else None
    for item in items:
        groups.setdefault("" if place is None else item.labels[place], []).append(item.item_id)
    return samples.in_turns(groups, SAMPLED)


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


def _labels(
    drawn: Mapping[str, Listed], items: Mapping[str, LabelledItem], kept: Sequence[str], settings: config.Settings
) -> list[LabelPrecision]:
    k = min(labels.PRECISION_K, settings.similar.k)
    found = []
    for column in settings.label_columns if drawn else ():
        place = kept.index(column)
        texts = {item_id: item.labels[place] for item_id, item in items.items()}
        found.append(labels.precision(drawn, labels.Labels.of(column, texts), k))
    return found
