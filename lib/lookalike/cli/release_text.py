"""What `lookalike releases` prints for people."""

from __future__ import annotations

from typing import Any

from lookalike.cli import output
from lookalike.redaction import redacted
from lookalike.warehouse.record import Gate, GroupRecall

SECTIONS = ("model", "counts", "changes", "changes_table", "pictures", "shards", "seconds")
PARTS = (
    "embeddings",
    "failures",
    "index",
    "neighbours",
    "similar_items",
    "changes",
    "duplicates",
    "report.html",
    "all",
)
MARKS = {"current": "*", "refused": "x"}
GROUP_TITLE = ("group", "recall", "95 % interval", "items searched")
TITLE = ("", "release", "created", "items", "embedded", "failed", "new", "changed", "removed", "model", "state")


def print_list(name: str, releases: list[dict[str, Any]]) -> None:
    """Print a line for each release of a warehouse."""
    rows = [TITLE, *map(_row, releases)]
    output.section(f"{name}, the newest first, times in UTC", output.aligned(rows))


def print_release(release: dict[str, Any]) -> None:
    """Print all that is known of one release."""
    record, state = release["record"], _state(release)
    facts = [
        (
            "created",
            f"{output.moment(record.get('created_at'))} UTC, by lookalike {output.text(record.get('lookalike'))}",
        ),
        ("parent", output.text(record.get("parent"))),
        *((name, output.text(_plain(record[name]))) for name in SECTIONS if name in record),
    ]
    output.section(f"Release {release['release_id']}{state and f', {state}'}", output.aligned(facts))
    if groups := record["counts"].get("recall_groups"):
        output.section("Recall of the worst groups", output.aligned([GROUP_TITLE, *map(_group, groups)]))
    output.section("Gates", [redacted(Gate.model_validate(gate).line()) for gate in record.get("gates", ())])
    sizes = release["sizes"]
    output.section("Sizes", output.aligned([(name, output.size(sizes[name])) for name in PARTS if name in sizes]))


def _plain(section: dict[str, Any]) -> dict[str, Any]:
    """Return a section without its lists, which have lines of their own."""
    return {name: one for name, one in section.items() if not isinstance(one, list)}


def _group(group: dict[str, Any]) -> tuple[str, ...]:
    found = GroupRecall.model_validate(group)
    name = "no value" if found.group is None else found.group
    interval = f"{found.low:.4f} to {found.high:.4f}"
    return name, f"{found.estimate:.4f}", interval, f"{found.sampled:,} of {found.items:,}"


def print_clean_up(cleaned: dict[str, Any]) -> None:
    """Print what went, what stayed and why."""
    rows = [("removed", release_id, "") for release_id in cleaned["removed"]]
    rows += [("kept", one["release_id"], one["reason"]) for one in cleaned["kept"]]
    title = f"{len(cleaned['removed']):,} removed, {output.size(cleaned['freed_bytes'])} freed"
    output.section(title, output.aligned(rows))


def _row(release: dict[str, Any]) -> tuple[str, ...]:
    mark, state = MARKS.get(release["state"], ""), _state(release)
    if release["error"]:
        return (mark, release["release_id"], *[""] * 8, f"{state}{state and '; '}{release['error']}")
    return (
        mark,
        release["release_id"],
        output.moment(release["created_at"]),
        *map(output.text, release["counts"].values()),
        *map(output.text, release["changes"].values()),
        output.text(release["model_id"]),
        state,
    )


def _state(release: dict[str, Any]) -> str:
    """Return in a few words whether a release is current, was, or was refused."""
    if release["state"] == "current":
        return f"current since {output.moment(release['current_since'])}"
    if release["current_until"]:
        return f"current until {output.moment(release['current_until'])}"
    return "refused" if release["state"] == "refused" else ""
