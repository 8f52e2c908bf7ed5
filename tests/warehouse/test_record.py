"""The type of release.json: what it keeps, what it reads of older versions, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lookalike import config
from lookalike.errors import NewerVersionError, WarehouseError
from lookalike.storage.json_file import unsealed
from lookalike.warehouse.record import Gate, ReleaseRecord
from lookalike.warehouse.stored import SCHEMA_VERSION, parse
from lookalike.warehouse.stored_config import StoredConfig
from support import records

# A record that lookalike 0.1.0 wrote from 6,000 photos; only its paths are others.
VERSION_1 = Path(__file__).parent / "records" / "release-0.1.0.json"


def parsed(content: Any, path: str = "release.json") -> ReleaseRecord:
    return parse(ReleaseRecord, json.dumps(content).encode(), path, "roll back")


def test_what_is_written_is_read_again(settings: Callable[..., config.Settings]) -> None:
    written = records.record(
        gates=records.refused("gates.max_hub"),
        config=StoredConfig.of(settings()),
        seconds={"read": 1.5},
        neighbours={"searched": 3, "plans": [{"kind": "ivf", "items": 3, "lists": 2, "nprobe": 1.5, "radius": 0.7}]},
    )
    read = parse(ReleaseRecord, written.as_json(), "release.json", "roll back")
    assert read == written
    assert read.schema_version == SCHEMA_VERSION


def test_record_of_version_0_1_0_is_read() -> None:
    read = parse(ReleaseRecord, VERSION_1.read_bytes(), VERSION_1, "roll back")
    assert (read.lookalike, read.parent, read.of_this_version) == ("0.1.0", None, False)
    assert read.created_at.isoformat() == "2026-11-25T17:09:05+00:00"
    assert (read.counts.items, read.counts.recall_low, read.model.model_id) == (6000, 0.99283, "23b5948572480e43")
    assert read.gates[0] == Gate(key="gates.max_failed_share", figure=0.0, bound=0.05, direction="at_most", passed=True)
    assert (read.gates[-1].key, read.gates[-1].direction) == ("similar.recall_floor", "at_least")
    assert read.gates[-1].line().startswith("similar.recall_floor: 0.9928, at least 0.99: passed (estimate 0.9965")
    assert read.shards.model_dump() == {"built": 1, "reused": 0}
    assert read.neighbours.since_full == 0
    (plan,) = read.neighbours.plans
    assert (plan.kind, plan.lists, plan.nprobe, plan.radius) == ("ivf", 77, 5.66, 1.6241391897201538)
    assert read.config.as_stored() == json.loads(VERSION_1.read_text())["config"]
    assert read.config.similar.k == 20


def test_sections_that_older_versions_lack_have_defaults() -> None:
    oldest = json.loads(VERSION_1.read_text())
    for section in ("changes", "pictures", "shards", "neighbours"):
        del oldest[section]
    del oldest["gates"][0]["detail"]
    for name in ("recall_low", "recall_high", "recall_groups", "items_before", "hub_item", "failed_example"):
        del oldest["counts"][name]
    read = parsed(oldest)
    assert (read.changes, read.pictures, read.neighbours.since_full) == (None, None, None)
    assert (read.counts.recall_low, read.counts.recall_high) == (0, 1)  # nothing is known


def test_record_of_a_newer_version_says_to_upgrade() -> None:
    newer = {"schema_version": SCHEMA_VERSION + 1, "all": "is different"}
    with pytest.raises(NewerVersionError, match=r"written by a newer lookalike .*upgrade") as raised:
        parsed(newer, "/data/release.json")
    assert str(raised.value).startswith("/data/release.json was written")
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("lacking", ["release_id", "created_at", "lookalike", "counts", "model", "config"])
def test_record_that_lacks_a_part_is_refused_in_one_line(lacking: str) -> None:
    stored = unsealed(records.record().as_json())
    del stored[lacking]
    with pytest.raises(WarehouseError, match=f"^release.json lacks '{lacking}'; roll back$"):
        parsed(stored)


@pytest.mark.parametrize(
    ("section", "value", "named"),
    [
        ("counts", {"items": "many"}, "counts"),
        ("model", None, "model"),
        ("config", [], "config"),
        ("config", {"similar": None}, "config.similar"),
        ("gates", [{"name": 3}], "gates.0"),
        ("gates", 3, "gates"),
        ("created_at", "yesterday", "created_at"),
        ("created_at", "2026-01-02T03:04:05", "created_at"),
        ("schema_version", "2", "schema_version"),
    ],
)
def test_record_with_a_part_of_another_kind_is_refused_in_one_line(section: str, value: Any, named: str) -> None:
    stored = json.loads(VERSION_1.read_text()) | {section: value}
    with pytest.raises(WarehouseError, match=f"^release.json (lacks '|cannot be read .){named}") as raised:
        parsed(stored)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("; roll back")


def test_stored_settings_keep_what_no_longer_exists_and_know_what_is_the_same(
    settings: Callable[..., config.Settings],
) -> None:
    now = settings()
    raw = now.model_dump(mode="json")
    stored = StoredConfig.model_validate({**raw, "index": {**raw["index"], "forest": 3}, "gone": {"key": 1}})
    assert stored.as_stored()["gone"] == {"key": 1}
    assert stored.same(now, "similar", "gates", "catalogue")
    assert not stored.same(now, "similar", "index")
    assert not StoredConfig.model_validate({"similar": {"k": 20}}).same(now, "similar")


@pytest.mark.parametrize(
    ("passed", "line"),
    [
        (True, "gates.max_hub: 3.2500, at most 50: passed (item 7)"),
        (False, "gates.max_hub: 3.2500, at most 50: REFUSED (item 7); look at its picture"),
    ],
)
def test_line_of_a_gate_says_what_to_do_when_it_refuses(passed: bool, line: str) -> None:
    gate = Gate(
        key="gates.max_hub",
        figure=3.25,
        bound=50,
        direction="at_most",
        passed=passed,
        detail="item 7",
        advice="look at its picture",
    )
    assert gate.line() == line


def test_record_lists_the_gates_that_refused() -> None:
    gates = (
        *records.refused("gates.max_hub"),
        records.refused("gates.max_items_lost")[0].model_copy(update={"passed": True}),
    )
    assert [line.partition(":")[0] for line in records.record(gates=gates).refusals] == ["gates.max_hub"]


# ---- whether a release would be made alike today


@pytest.mark.parametrize(
    ("sections", "alike"),
    [
        ({}, True),
        ({"embed": {"commit_every": 1}}, True),
        ({"warehouse": {"grace": 0}}, True),
        ({"catalogue": {"image_root": "/elsewhere"}}, True),
        ({"index": {"trees": 3}}, False),
        ({"similar": {"k": 3}}, False),
        ({"similar": {"group_by": "kind"}}, False),
        ({"gates": {"max_hub": 3}}, False),
        ({"report": {"enabled": False}}, False),
        ({"images": {"max_bytes": 3}}, False),
        ({"images": {"max_pixels": 3}}, False),
        ({"images": {"accept_truncated": True}}, False),
        ({"images": {"allowed_roots": ["/data"]}}, False),
        ({"images": {"decode_timeout": 3}}, False),
        ({"images": {"fetch_threads": 3, "retries": 9, "read_timeout": 9}}, True),
        ({"catalogue": {"keep_columns": ["price", "kind"]}}, False),
    ],
)
def test_release_is_made_like_another_when_the_settings_that_shape_it_are_the_same(
    settings: Callable[..., config.Settings], sections: dict[str, Any], alike: bool
) -> None:
    kept = {"keep_columns": ["price"]}
    made = records.record(config=StoredConfig.of(settings(catalogue=kept)))
    now = settings(**{**sections, "catalogue": {**kept, **sections.get("catalogue", {})}})
    assert made.made_like(now) == alike


def test_release_of_another_version_of_the_program_is_not_made_alike(settings: Callable[..., config.Settings]) -> None:
    made = records.record(config=StoredConfig.of(settings()))
    assert made.made_like(settings())
    assert not made.model_copy(update={"lookalike": "0.0.1"}).made_like(settings())


def test_release_that_knows_nothing_of_a_setting_is_not_made_alike(settings: Callable[..., config.Settings]) -> None:
    stored = settings().model_dump(mode="json")
    del stored["gates"]["max_hub"]
    assert not records.record(config=stored).made_like(settings())
    stored = settings().model_dump(mode="json")
    del stored["images"]
    made = records.record(config=stored)
    assert not made.made_like(settings())
    assert made.config.images.max_bytes is None
