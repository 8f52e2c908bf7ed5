"""What the page of a release shows of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.report import contents
from lookalike.report.contents import Contents
from lookalike.spark.release_tables import ReleaseTables
from support import staging
from support.small_release import make_settings, make_tables, write_tables


def similar(lists: Mapping[str, str]) -> list[tuple[str, int, str, float]]:
    """Rows of the lists: item -> the one-letter ids of its neighbours."""
    return [
        (item, rank, other, round(1 - rank / 10, 1))
        for item, others in lists.items()
        for rank, other in enumerate(others, 1)
    ]


def made(spark: SparkSession, folder: Path, lists: Mapping[str, str], shoes: str = "ab") -> ReleaseTables:
    """A release in which `shoes` have that category, and z none."""
    items = [(item, f"{item}.png", None if item == "z" else "shoe" if item in shoes else "hat") for item in lists]
    return write_tables(spark, staging.stage(folder, folder.name), items, similar(lists))


def chosen(folder: Path, *items: str, k: int = 3) -> config.Settings:
    settings = make_settings(folder)
    report = config.ReportSettings(items=items, labels=("category",))
    update = {"report": report, "similar": config.SimilarSettings(group_by="category", k=k)}
    return settings.model_copy(update=update)


def listed(shown: Contents, kind: str) -> dict[str, str]:
    """The lists of a part of the page: item -> its neighbours."""
    return {one.item_id: "".join(other for other, _ in one.now) for one in getattr(shown, kind)}


NOW = {"a": "bcd", "b": "acd", "c": "dba", "d": "c", "e": "abc", "z": ""}


@pytest.fixture(scope="module")
def shown(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """Since the release before, z came, x left, and a and e have other neighbours; d has the same ones."""
    root = tmp_path_factory.mktemp("contents")
    before = made(spark, root / "before", {"a": "xcd", "b": "acd", "c": "dba", "d": "c", "e": "abd", "x": "abc"})
    now = made(spark, root / "now", NOW)
    return contents.collect(now, before, chosen(root, "c", "z", "c", "gone", "gone"))


def test_chosen_items_come_first_and_the_sample_has_others(shown: Contents) -> None:
    assert listed(shown, "chosen") == {"c": "dba", "z": ""}
    assert [one.item_id for one in shown.chosen] == ["c", "z"]  # each once
    assert shown.unknown == ["gone"]
    assert listed(shown, "sampled") == {item: NOW[item] for item in listed(shown, "sampled")}
    assert set(listed(shown, "sampled")) == set("abde")
    assert [item in "ab" for item in listed(shown, "sampled")] == [False, True, False, True]  # hats and shoes


def test_items_without_neighbours_are_the_worst_of_those_with_few(shown: Contents) -> None:
    assert listed(shown, "shortest") == {"z": "", "d": "c"}
    assert list(listed(shown, "lowest")) == ["a", "b", "c"]  # all have the same best score


def test_lists_with_other_neighbours_are_counted_and_shown_with_both(shown: Contents) -> None:
    changes = shown.changes
    assert (changes.compared, changes.differ) == (5, 2)  # z and x are in one of the two alone
    assert [one.item_id for one in changes.shown] == ["a", "e"]
    assert ["".join(item for item, _ in one.before or ()) for one in changes.shown] == ["xcd", "abd"]
    assert [set(one.moved) for one in changes.shown] == [{"b", "x"}, {"c", "d"}]


def test_item_that_left_is_described_by_the_release_before(shown: Contents) -> None:
    assert set(shown.items) == set(NOW)
    assert {item: one.image_path for item, one in shown.former.items()} == {"x": "x.png"}


def test_labels_and_scores_are_those_of_all_lists(shown: Contents) -> None:
    assert (sum(shown.scores.best), sum(shown.scores.last)) == (5, 5)
    (label,) = shown.labels
    # Of 13 neighbours: a and b have each other, c has d, d has c; 2 of 5 items with a list are shoes.
    assert (label.column, label.precision, label.items) == ("category", round(5 / 13, 4), 5)
    assert label.chance == 0.4


def test_what_the_rules_say_of_an_item_is_no_label(spark: SparkSession, tmp_path: Path) -> None:
    tables = make_tables(spark, [("a", "a.png", "shoe")])
    tables = replace(tables, embeddings=tables.embeddings.selectExpr("*", "true AS eligible"))
    settings = chosen(tmp_path)
    ruled = config.SimilarSettings(eligible="category = 'shoe'")
    assert contents.kept_columns(tables, settings) == ["category", "eligible"]  # a column of the catalogue
    settings = settings.model_copy(update={"similar": ruled})
    assert contents.kept_columns(tables, settings) == ["category"]
    asked = settings.model_copy(update={"report": config.ReportSettings(labels=("eligible",))})
    assert contents.kept_columns(tables, asked) == ["category", "eligible"]


def test_first_release_of_one_item_has_its_page(spark: SparkSession, tmp_path: Path) -> None:
    found = contents.collect(made(spark, tmp_path / "now", {"a": ""}), None, chosen(tmp_path))
    assert (listed(found, "sampled"), listed(found, "shortest")) == ({}, {"a": ""})
    assert (found.lowest, found.hubs, found.labels, found.changes) == ([], (), [], contents.Changes())


def test_release_without_embeddings_has_its_page(spark: SparkSession, tmp_path: Path) -> None:
    found = contents.collect(made(spark, tmp_path / "now", {}), None, chosen(tmp_path, "a"))
    assert found.unknown == ["a"]
    assert (found.sampled, found.shortest, found.items) == ([], [], {})


def test_neighbours_that_come_show_first_where_lists_are_long(spark: SparkSession, tmp_path: Path) -> None:
    """A list of which only the ninth place changed says less than one of which the first did."""
    letters = "abcdefghijkl"
    same = {item: letters.replace(item, "") for item in letters}
    then = {**same, "a": same["a"][:8] + "zy", "l": "zy" + same["l"][2:]}
    now, before = (made(spark, tmp_path / name, lists) for name, lists in (("now", same), ("before", then)))
    found = contents.collect(now, before, chosen(tmp_path, k=12)).changes
    assert (found.compared, found.differ) == (12, 2)
    assert [one.item_id for one in found.shown] == ["l", "a"]
    assert all(len(one.now) == contents.NEIGHBOURS for one in found.shown)
