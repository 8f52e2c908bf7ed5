"""Warehouses that each version wrote (tests/golden/make.py): the present code reads, refreshes and rolls them back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

import lookalike
from golden import make
from lookalike import config, config_file
from lookalike.cli import overview
from lookalike.cli.main import app
from lookalike.spark import parquet
from lookalike.storage import json_file
from lookalike.version import VERSION
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support.drawn import ROOT
from support.shop import Shop, copy_warehouse, leftovers, picture, refresh, rows

GOLDEN = ROOT / "tests" / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and path.name[0].isdigit())

# Versions that took other pixels from some pictures: all are embedded once more, by a model of another id. Their
# records have no checksum.
OTHER_PIXELS = ("0.1.0", "0.2.0")

TABLES = ("embeddings", "failures", "similar_items", "duplicates")

# What tells one run from another, whatever the tables hold
RUN = ("release_id", "embedded_at", "first_failed_at", "last_failed_at")


@dataclass
class Golden:
    """A copy of a golden warehouse with its shop."""

    version: str
    shop: Shop
    settings: config.Settings

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.settings.warehouse.path)

    def releases(self) -> list[ReleaseFolder]:
        """The two releases that the old version wrote, the first one first."""
        folders = sorted((Path(self.settings.warehouse.path) / "releases").iterdir())
        return [ReleaseFolder(folder) for folder in folders][:2]


def golden_copy(folder: Path, version: str) -> Golden:
    shutil.copytree(GOLDEN / version, folder, symlinks=True)
    # Fingerprints count only where the pictures lie where they lay.
    for path in folder.glob("warehouse/releases/*/release.json"):
        record = json_file.unsealed(path.read_bytes())
        record["config"]["catalogue"]["image_root"] = str(folder)
        is_sealed = version not in OTHER_PIXELS
        path.write_bytes(json_file.sealed(record) if is_sealed else json.dumps(record, indent=1).encode())
    found = pq.read_table(folder / "catalogue.parquet").drop_columns("etag").to_pylist()
    shop = Shop(folder, {row["item_id"]: row for row in found})
    if version in OTHER_PIXELS:
        make.write_model(folder / "warehouse" / "models")
    return Golden(version, shop, settings_in(folder))


def settings_in(folder: Path) -> config.Settings:
    raw = config_file.load(GOLDEN / "settings.yaml").model_dump()
    raw["catalogue"] |= {"path": str(folder / "catalogue.parquet"), "image_root": str(folder)}
    raw["warehouse"] |= {"path": str(folder / "warehouse")}
    return config.Settings.model_validate(raw)


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    return golden_copy(tmp_path / "shop", request.param)


def releases_json(golden: Golden, *words: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """What `lookalike releases … --json` prints."""
    command = ["releases", "--config", str(GOLDEN / "settings.yaml")]
    place = ["--set", f"warehouse.path={golden.settings.warehouse.path}"]
    with pytest.raises(SystemExit) as done:
        app([*command, *place, *words, "--json"], prog_name="lookalike")
    assert done.value.code == 0
    return json.loads(capsys.readouterr().out)


def test_there_is_a_warehouse_of_each_version() -> None:
    assert {"0.1.0", VERSION} <= set(VERSIONS)


def test_releases_are_listed_with_their_figures(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    listed = releases_json(golden, "list", capsys=capsys)["releases"]
    assert [one["release_id"] for one in listed] == [release.release_id for release in reversed(golden.releases())]
    shown = releases_json(golden, "show", capsys=capsys)
    assert shown["release_id"] == listed[0]["release_id"]
    assert shown["record"]["counts"]["items"] == 12
    assert shown["record"]["counts"]["failed_by_reason"] == {"truncated": 1}


def test_current_release_is_shown(golden: Golden, spark: SparkSession) -> None:
    page = overview.read(spark, golden.settings, items=2, labels=None)
    assert page.as_json()["counts"]["similar_items"] == len(rows(golden.releases()[1].similar_items))
    assert len(page.samples) == 2


def test_release_is_asked_from_python(golden: Golden) -> None:
    release = lookalike.open_release(golden.settings.warehouse.path)
    assert release.release_id == golden.releases()[1].release_id
    # Of its own kind item-12, the others from the fallback; item-06 is a variant of it, item-04 a duplicate of item-01.
    found = [neighbour.item_id for neighbour in release.similar("item-03")]
    assert found == ["item-07", "item-12", "item-10", "item-01"]
    [own] = release.search_image(golden.shop.path("item-12"), k=1)
    assert own.item_id == "item-12"
    assert own.score == pytest.approx(1.0, abs=1e-5)


def tonight(shop: Shop) -> None:
    """One picture changed, one item gone, one new; the damaged picture is repaired."""
    shop.put("item-03", picture(30))
    shop.rows.pop("item-10")
    shop.add("item-13", 13)
    shop.rows["item-13"]["price"] = 14
    shop.put("item-11", picture(11))


@pytest.fixture(scope="module", params=VERSIONS)
def refreshed(request: pytest.FixtureRequest, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """The warehouse after a night of the present code; tests change copies of it."""
    golden = golden_copy(tmp_path_factory.mktemp("golden") / "shop", request.param)
    tonight(golden.shop)
    refresh(spark, golden.shop, golden.settings)
    return golden


def record_of(release: ReleaseFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((release.root / "release.json").read_text(encoding="utf-8"))
    return found


def test_refresh_uses_the_model_and_the_vectors_that_are_there_unless_pixels_differ(refreshed: Golden) -> None:
    record = record_of(refreshed.warehouse.need_current())
    assert record["parent"] == refreshed.releases()[1].release_id
    model_id = record_of(refreshed.releases()[0])["model"]["model_id"]
    if refreshed.version in OTHER_PIXELS:
        assert record["pictures"] == {"read": 12, "embedded": 10}  # two pairs of items have one picture
        assert record["model"]["model_id"] != model_id
    else:
        assert record["changes"] == {"new": 1, "changed": 1, "unchanged": 9, "removed": 1, "failed": 1}
        assert record["pictures"] == {"read": 3, "embedded": 3}
        assert record["model"]["model_id"] == model_id
    assert leftovers(Path(refreshed.settings.warehouse.path)) == []


@pytest.fixture(scope="module")
def from_nothing(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Golden], dict[str, list[dict[str, Any]]]]:
    """The tables of a run from nothing: one for all versions that have the same model and the same shop."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def tables(golden: Golden) -> dict[str, list[dict[str, Any]]]:
        golden.shop.write()
        model_id = record_of(golden.warehouse.need_current())["model"]["model_id"]
        key = f"{model_id} {pq.read_table(golden.shop.folder / 'catalogue.parquet').to_pylist()}"  # with hashes
        if key not in found:
            place = tmp_path_factory.mktemp("from-nothing") / "warehouse"
            copy_warehouse(Path(golden.settings.warehouse.path) / "models", place / "models")
            elsewhere = golden.settings.warehouse.model_copy(update={"path": str(place)})
            fresh = refresh(spark, golden.shop, golden.settings.model_copy(update={"warehouse": elsewhere}))
            found[key] = {table: rows_without_run(fresh, table) for table in TABLES}
        return found[key]

    return tables


def test_refresh_gives_what_a_run_from_nothing_gives(
    refreshed: Golden, from_nothing: Callable[[Golden], dict[str, list[dict[str, Any]]]]
) -> None:
    current = refreshed.warehouse.need_current()
    for table, expected in from_nothing(refreshed).items():
        assert rows_without_run(current, table) == expected, table


def rows_without_run(release: ReleaseFolder, table: str) -> list[dict[str, Any]]:
    found = rows(getattr(release, table))
    return [{name: value for name, value in row.items() if name not in RUN} for row in found]


def test_refresh_writes_no_time_as_int96(refreshed: Golden) -> None:
    files = list(refreshed.warehouse.need_current().root.rglob("*.parquet"))
    assert {file.parent.name for file in files} >= {"embeddings", "failures", "index", "neighbours", "similar_items"}
    assert [file for file in files if parquet.has_int96(file)] == []


def has_int96(release: ReleaseFolder) -> list[bool]:
    """Of each file of embeddings."""
    return [parquet.has_int96(file) for file in release.embeddings.glob("*.parquet")]


def test_night_without_a_new_vector_does_not_carry_int96_on(spark: SparkSession, tmp_path: Path) -> None:
    night = golden_copy(tmp_path / "shop", "0.2.0")
    night.shop.rows["item-14"] = {**night.shop.rows["item-01"], "item_id": "item-14", "image_path": " "}
    assert any(has_int96(night.warehouse.need_current()))
    tonight = refresh(spark, night.shop, night.settings)
    assert not any(has_int96(tonight))
    assert {row["item_id"]: row["reason"] for row in rows(tonight.failures)}["item-14"] == "no_path"


def test_rollback_to_an_old_release_after_a_new_one(refreshed: Golden, tmp_path: Path) -> None:
    place = copy_warehouse(Path(refreshed.settings.warehouse.path), tmp_path / "warehouse")
    warehouse, old = Warehouse(str(place)), refreshed.releases()
    for wanted in reversed(old):
        with warehouse.writer(refreshed.settings.warehouse.lock_ttl):
            warehouse.roll_back(warehouse.find(wanted.release_id))
        opened = lookalike.open_release(place)
        assert opened.release_id == wanted.release_id
        assert opened.similar("item-00") != []


@pytest.mark.parametrize("refreshed", VERSIONS[:1], indirect=True)
def test_night_after_a_rollback_builds_on_the_old_release_again(
    refreshed: Golden, spark: SparkSession, tmp_path: Path
) -> None:
    place = copy_warehouse(Path(refreshed.settings.warehouse.path), tmp_path / "warehouse")
    warehouse, old = Warehouse(str(place)), refreshed.releases()
    with warehouse.writer(refreshed.settings.warehouse.lock_ttl):
        warehouse.roll_back(warehouse.find(old[0].release_id))
    here = refreshed.settings.warehouse.model_copy(update={"path": str(place)})
    again = refresh(spark, refreshed.shop, refreshed.settings.model_copy(update={"warehouse": here}))
    assert record_of(again)["parent"] == old[0].release_id
    assert rows_without_run(again, "similar_items") == rows_without_run(
        refreshed.warehouse.need_current(), "similar_items"
    )
