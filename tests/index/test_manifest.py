"""index.json: what is written is read back, and nothing else than a sound manifest of this version is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lookalike.errors import ManifestError
from lookalike.index import manifest
from lookalike.index.annoy import GoldenQuery
from lookalike.index.manifest import Manifest, ManifestGroup, ManifestShard


def shard(number: int, **fields: Any) -> ManifestShard:
    """A sound entry."""
    names = {"file": f"shard-0000{number}.ann", "items_file": f"shard-0000{number}.items.parquet", "delta": False}
    figures = {"items": 3, "live": 2, "candidates": 1, "bytes": 99, "sha256": "a", "ids_sha256": "c"}
    golden = GoldenQuery(0, (0, 1), (0.0, 0.25))
    return ManifestShard.model_validate({**names, "group": None, **figures, "golden": golden, **fields})


GROUPS = (
    ManifestGroup(group=None, centroids_file="shard-00000.centroids.npy", lists=2),
    ManifestGroup(group="Schühe", centroids_file=None, lists=1),
)
SOUND = Manifest(
    dimensions=4,
    trees=5,
    seed=6,
    group_by="kind",
    next_shard=2,
    groups=GROUPS,
    shards=(shard(0), shard(1, group="Schühe")),
)
NONE = Manifest(dimensions=None, trees=1, seed=1, group_by=None, next_shard=0, groups=(), shards=())


@pytest.mark.parametrize("sound", [SOUND, NONE], ids=["shards", "none"])
def test_manifest_is_read_as_it_was_written(tmp_path: Path, sound: Manifest) -> None:
    manifest.write(sound, tmp_path)
    assert manifest.read(tmp_path) == sound
    assert next(iter(json.loads((tmp_path / "index.json").read_text()))) == "version"


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    body = SOUND.model_dump(mode="json")
    change(body)
    return json.dumps(body)


def first(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["shards"][0].update(fields)


WRONG = {
    "not JSON": ("{", "restore"),
    "a list": ("[]", "restore"),
    "brackets": ("[" * 100_000, "restore"),
    "not UTF-8": ("\udcff", "restore"),
    "without a version": (changed(lambda body: body.pop("version")), "version None, this lookalike reads version 2"),
    "of a later version": (changed(lambda body: body.update(version=3)), "version 3, this lookalike reads version 2"),
    "of another metric": (changed(lambda body: body.update(metric="euclidean")), "metric"),
    "of no dimensions": (changed(lambda body: body.update(dimensions=None)), "dimensions"),
    "of 0 dimensions": (changed(lambda body: body.update(dimensions=0)), "dimensions"),
    "dimensions as text": (changed(lambda body: body.update(dimensions="4")), "dimensions"),
    "without shards": (changed(lambda body: body.pop("shards")), "shards"),
    "more live items than items": (changed(first(live=4)), "more items are live"),
    "more candidates than live items": (changed(first(candidates=3)), "more items are live"),
    "a group of no shard": (changed(lambda body: body["shards"].pop()), "groups"),
    "a shard without a group": (changed(lambda body: body["groups"].pop()), "groups"),
    "a shard of no items": (changed(first(items=0)), "items"),
    "a shard without its digest": (changed(lambda body: body["shards"][1].pop("sha256")), "shards.1.sha256"),
    "a shard without a golden query": (changed(lambda body: body["shards"][1].pop("golden")), "shards.1.golden"),
    "a file twice": (changed(first(file="shard-00001.ann")), "two shards"),
    "golden item beyond the last": (
        changed(first(golden={"position": 3, "neighbours": [], "distances": []})),
        "the golden query",
    ),
    "golden item before the first": (
        changed(first(golden={"position": -1, "neighbours": [], "distances": []})),
        "the golden query",
    ),
    "golden answer cut short": (
        changed(first(golden={"position": 0, "neighbours": [0, 1], "distances": [0.0]})),
        "the golden query",
    ),
    **{
        f"file {name!r}": (changed(first(**{key: name})), f"shards.0.{key}")
        for key in ("file", "items_file")
        for name in (
            "../shard-00000.ann",
            "x.ann" if key == "file" else "x/y",
            "/etc/passwd",
            "a/b.ann",
            "..",
            ".",
            "",
            "a\\b.ann",
        )
    },
}


@pytest.mark.parametrize("case", WRONG)
def test_any_other_manifest_is_refused_with_a_line(tmp_path: Path, case: str) -> None:
    body, said = WRONG[case]
    (tmp_path / "index.json").write_bytes(body.encode(errors="surrogateescape"))
    with pytest.raises(ManifestError) as refused:
        manifest.read(tmp_path)
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    assert str(tmp_path / "index.json") in line
    assert said in line


def test_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file or directory"):
        manifest.read(tmp_path)


def test_key_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(changed(lambda body: body.update(note="x")))
    assert manifest.read(tmp_path) == SOUND


def test_manifest_of_version_1_has_no_tombstones_deltas_or_lists(tmp_path: Path) -> None:
    def as_version_1(body: dict[str, Any]) -> None:
        body.update(version=1)
        del body["groups"], body["next_shard"]
        for shard in body["shards"]:
            del shard["live"], shard["candidates"], shard["delta"]
            shard["content"] = "d"

    (tmp_path / "index.json").write_text(changed(as_version_1))
    found = manifest.read(tmp_path)
    assert found.version == 1
    assert [(group.group, group.lists, group.centroids_file) for group in found.groups] == [
        (None, 1, None),
        ("Schühe", 1, None),
    ]
    assert [(one.items, one.live, one.candidates, one.delta) for one in found.shards] == [(3, 3, 3, False)] * 2
