"""Lists, shows and compares the releases of a warehouse, rolls back to an earlier one, and removes old ones.

spark-submit jobs/releases.py --config conf/nightly.yaml [--set key=value …] list
spark-submit jobs/releases.py --config conf/nightly.yaml show [RELEASE]
spark-submit jobs/releases.py --config conf/nightly.yaml rollback [RELEASE]
spark-submit jobs/releases.py --config conf/nightly.yaml diff RELEASE RELEASE
spark-submit jobs/releases.py --config conf/nightly.yaml clean --keep N
spark-submit jobs/releases.py --config conf/nightly.yaml publish-views

Only diff starts Spark, and with publish.catalog rollback and publish-views; the others run as well with python in
place of spark-submit, and at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.cli import session as common
from lookalike.errors import ConfigError, WarehouseError
from lookalike.quality.gates import Gate
from lookalike.report import compare as comparison
from lookalike.spark import release_tables
from lookalike.sql import metastore
from lookalike.warehouse import mirrored
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import Pointer, Refused, ReleaseFolder

SECTIONS = ("model", "counts", "changes", "pictures", "shards", "seconds")
PARTS = ("embeddings", "failures", "index", "neighbours", "similar_items", "duplicates", "report.html")
NEIGHBOURS = 5  # of those that came or went, named for an example


def list_releases(settings: config.Settings, _options: argparse.Namespace) -> None:
    """A line a release, the newest first, and then what is wrong with CURRENT, if anything is."""
    warehouse = mirrored.open_warehouse(settings)
    pointer = _pointer(warehouse)
    releases = sorted([*warehouse.releases(), *warehouse.refused()], key=lambda one: one.release_id, reverse=True)
    if releases:
        title = ("", "release", "created", "items", "embedded", "failed", "new", "changed", "removed", "model", "state")
        rows = [title, *(_row(release, pointer) for release in releases)]
        common.section(f"{warehouse.name}, the newest first, times in UTC", common.aligned(rows))
    warehouse.need_current()


def show(settings: config.Settings, options: argparse.Namespace) -> None:
    """All that is known of one release."""
    warehouse = mirrored.open_warehouse(settings)
    wanted = options.release
    release = warehouse.need_current() if wanted is None else warehouse.find(wanted, refused=True)
    record = release.record()
    _, state = _state(release, _pointer(warehouse))
    facts = [
        ("created", f"{_moment(record.get('created_at'))} UTC, by lookalike {_text(record.get('lookalike'))}"),
        ("parent", _text(record.get("parent"))),
        *((name, _text(record[name])) for name in SECTIONS if name in record),
    ]
    common.section(f"Release {release.release_id}{state and f', {state}'}", common.aligned(facts))
    common.section("Gates", [Gate(**gate).line() for gate in record.get("gates", ())])
    sizes = warehouse.sizes(release)
    parts = [(name, _bytes(sizes[name])) for name in PARTS if name in sizes]
    common.section("Sizes", common.aligned([*parts, ("all", _bytes(sum(sizes.values())))]))


def roll_back(settings: config.Settings, options: argparse.Namespace) -> None:
    """Make another release the current one: by default the one that the current one followed."""
    warehouse = mirrored.open_warehouse(settings)
    _need_releases(warehouse)
    with warehouse.writer(settings.warehouse.lock_ttl):
        release = warehouse.previous() if options.release is None else warehouse.find(options.release)
        was = _pointer(warehouse)
        if was and was.release_id == release.release_id:
            print(f"{release.release_id} is the current release already; nothing to do")
            return
        warehouse.roll_back(release)
        print(
            f"rolled back from {was.release_id if was else 'no readable CURRENT'} to {release.release_id}", flush=True
        )
        if settings.publish.catalog:
            _point_views(warehouse, settings)


def publish_views(settings: config.Settings, _options: argparse.Namespace) -> None:
    """Point the SQL views to the current release, where a run or a rollback could not."""
    if not settings.publish.catalog:
        raise ConfigError("publish.catalog is not set; name the database that gets the views")
    warehouse = mirrored.open_warehouse(settings)
    _need_releases(warehouse)
    with warehouse.writer(settings.warehouse.lock_ttl):
        _point_views(warehouse, settings)


def _point_views(warehouse: Warehouse, settings: config.Settings) -> None:
    with common.session("releases", settings) as spark:
        metastore.point_to_current(spark, warehouse, settings)
    print(f"the views of the database {settings.publish.catalog} show {warehouse.need_current().release_id}")


def compare(settings: config.Settings, options: argparse.Namespace) -> None:
    """What differs between two releases."""
    warehouse = mirrored.open_warehouse(settings)
    old, new = (warehouse.find(release_id, refused=True) for release_id in (options.old, options.new))
    if old == new:
        raise ConfigError(f"diff {options.old} {options.new}: both are the release {old.release_id}; give two")
    with common.session("releases", settings) as spark:
        for release in (old, new):
            warehouse.fetch(release)
        print_differences(spark, old, new)


def print_differences(spark: SparkSession, old: ReleaseFolder, new: ReleaseFolder) -> None:
    """Count and print what differs, with examples."""
    before, after = release_tables.open_release(spark, old), release_tables.open_release(spark, new)
    assert before is not None
    assert after is not None  # there is a None only for no release
    found = comparison.compare(before, after)
    settings = [f"{name}: {_text(then)} -> {_text(now)}" for name, then, now in _settings(before, after) if then != now]
    common.section(f"From {old.release_id} to {new.release_id}, {found.in_both:,} items in both", settings)
    common.section(f"Items added: {found.added:,}", found.added_examples)
    common.section(f"Items removed: {found.removed:,}", found.removed_examples)
    pictures = [f"{one.item_id}: {one.before[:16]} -> {one.after[:16]}" for one in found.picture_examples]
    common.section(f"Items whose picture changed: {found.pictures:,}", pictures)
    neighbours = [f"{one.item_id}: {_exchange(one)}" for one in found.neighbour_examples]
    common.section(f"Items whose neighbours changed: {found.neighbours:,}", neighbours)


def clean(settings: config.Settings, options: argparse.Namespace) -> None:
    """Remove old releases."""
    if options.keep < 1:
        raise ConfigError(f"--keep {options.keep}: give 1 or more")
    warehouse = mirrored.open_warehouse(settings)
    _need_releases(warehouse)
    with warehouse.writer(settings.warehouse.lock_ttl):
        cleaned = warehouse.clean(options.keep, settings.warehouse.grace)
    rows = [("removed", release.release_id, "") for release in cleaned.gone]
    rows += [("kept", release_id, reason) for release_id, reason in cleaned.kept.items()]
    common.section(f"{len(cleaned.gone):,} removed, {_bytes(cleaned.freed)} freed", common.aligned(rows))


def _need_releases(warehouse: Warehouse) -> None:
    """Before the lock is taken, which would make a folder of a path that is mistyped."""
    if not warehouse.releases():
        warehouse.need_current()


def _pointer(warehouse: Warehouse) -> Pointer | None:
    """None too when it cannot be read: the releases can be looked at, and rolled back to, all the same."""
    try:
        return warehouse.pointer()
    except WarehouseError:
        return None


def _row(release: ReleaseFolder, pointer: Pointer | None) -> tuple[str, ...]:
    mark, state = _state(release, pointer)
    try:
        record = release.record()
    except WarehouseError as error:
        reason = " ".join(str(error).split())
        return (mark, release.release_id, *[""] * 8, f"{state}{state and '; '}{reason}")
    counts, changes, model = (_section(record, name) for name in ("counts", "changes", "model"))
    return (
        mark,
        release.release_id,
        _moment(record.get("created_at")),
        *(_text(counts.get(name)) for name in ("items", "embedded", "failed")),
        *(_text(changes.get(name)) for name in ("new", "changed", "removed")),
        _text(model.get("model_id")),
        state,
    )


def _state(release: ReleaseFolder, pointer: Pointer | None) -> tuple[str, str]:
    """A mark and words: whether it is current, was, or never will be."""
    if isinstance(release, Refused):
        return "x", "refused"
    if pointer and pointer.release_id == release.release_id:
        return "*", f"current since {_moment(pointer.since)}"
    until = pointer.until.get(release.release_id) if pointer else None
    return "", f"current until {_moment(until.isoformat())}" if until else ""


def _section(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Of a release.json that may be older than the section."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    """Any value of a release.json, for a person; what is not known is a dash."""
    if isinstance(value, dict):
        known = {name: one for name, one in value.items() if one not in (None, {})}
        parts = (
            f"{name} ({_text(one)})" if isinstance(one, dict) else f"{name} {_text(one)}" for name, one in known.items()
        )
        return ", ".join(parts) or "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else str(value)
    return f"{value:,}"


def _moment(value: Any) -> str:
    """`2026-11-22 17:14:23` of an ISO time."""
    return str(value or "-")[:19].replace("T", " ")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _settings(before: release_tables.Before, after: release_tables.Before) -> list[tuple[str, Any, Any]]:
    """What explains that every list differs."""
    keys = ("k", "group_by")
    models = ("model", *(_section(side.record, "model").get("model_id") for side in (before, after)))
    return [models, *((f"similar.{key}", *(side.setting("similar", key) for side in (before, after))) for key in keys)]


def _exchange(moved: comparison.Neighbours) -> str:
    if not moved.went and not moved.came:
        return "the same in another order"
    return "; ".join(f"{word} {_few(ids)}" for word, ids in (("went", moved.went), ("came", moved.came)) if ids)


def _few(ids: list[str]) -> str:
    more = len(ids) - NEIGHBOURS
    return ", ".join(ids[:NEIGHBOURS]) + (f" and {more:,} more" if more > 0 else "")


def _parser() -> argparse.ArgumentParser:
    parser = common.arguments(str(__doc__).splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    release = "its id, or as much of the beginning as no other has"

    command = commands.add_parser("list", help="a line a release, the newest first")
    command.set_defaults(command=list_releases)

    command = commands.add_parser("show", help="figures, gates, seconds and sizes of one release")
    command.add_argument("release", nargs="?", metavar="RELEASE", help=f"{release}; default: the current one")
    command.set_defaults(command=show)

    command = commands.add_parser("rollback", help="make an earlier release the current one, in one step")
    command.add_argument("release", nargs="?", metavar="RELEASE", help=f"{release}; default: the one before")
    command.set_defaults(command=roll_back)

    command = commands.add_parser("diff", help="items, pictures and neighbours that differ between two releases")
    for name in ("old", "new"):
        command.add_argument(name, metavar="RELEASE", help=release)
    command.set_defaults(command=compare)

    command = commands.add_parser("clean", help="remove old releases; the current one stays")
    command.add_argument("--keep", type=int, required=True, metavar="N", help="how many of the newest stay")
    command.set_defaults(command=clean)

    command = commands.add_parser("publish-views", help="point the SQL views of publish.catalog to the current release")
    command.set_defaults(command=publish_views)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that is named; the exit code."""
    return common.run_command(lambda settings, options: options.command(settings, options), _parser(), words)
