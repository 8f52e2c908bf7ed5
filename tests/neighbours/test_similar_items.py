"""The files of similar_items: each item's neighbours in order, whatever tasks found them, and in the file of its id."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.knn.lists import FOUND
from lookalike.knn.task import FoundPart
from lookalike.neighbours import list_changes, similar_items
from lookalike.neighbours.list_changes import IdRange, PreviousLists
from lookalike.neighbours.similar_items import SIMILAR_ITEMS, SimilarItemFiles
from lookalike.warehouse.release_files import StoredFile
from support import staging

Lists = dict[str, list[tuple[str, float]]]


def found(lists: Lists) -> pa.Table:
    """What a task hands over; of each second item all candidates were searched."""
    rows = [
        {
            "item_id": item,
            "similar_item_ids": [name for name, _ in named],
            "scores": [score for _, score in named],
            "searched": number % 2 == 0,
        }
        for number, (item, named) in enumerate(lists.items())
    ]
    return pa.Table.from_pylist(rows, schema=FOUND)


def written(files: SimilarItemFiles, *tasks: Lists) -> list[tuple[int | None, int]]:
    """Write what some tasks found; return of each file its rows, and how many of its items were searched."""
    parts = [part for lists in tasks for part in files.parts(FoundPart(found(lists), []))]
    values = [(part["file"][0].as_py(), part["lists"][0].as_buffer()) for part in parts if part["lists"][0].is_valid]
    done = [
        files.write(number, [lists for file, lists in values if file == number])
        for number in range(len(files.bounds) + 1)
    ]
    files.staged.add(file for pair, _ in done for file in pair)
    files.staged.check_there("similar_items", "changes")
    return [(pair[0].rows, searched) for pair, searched in done]


def files_in(
    folder: Path, *bounds: str, release_id: str = "now", before: PreviousLists | None = None
) -> SimilarItemFiles:
    """The files of a release."""
    ids = np.array([bound.encode() for bound in bounds], dtype=np.bytes_)
    return SimilarItemFiles(staging.stage(folder, release_id), ids, before)


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """The rows of a file."""
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]


def test_each_file_has_its_items_in_order_with_ranks(tmp_path: Path) -> None:
    files = files_in(tmp_path, "bé")
    one: Lists = {"z": [("a", 0.5)], "a": [("z", 0.5), ("bé", 0.25)], "lonely": []}
    other: Lists = {"c": [("é", 1.0)], "é": [("c", 1.0), ("a", 0.0)], "bé": [("a", 0.25)], "A": [("a", 0.125)]}
    assert written(files, one, other) == [(4, 1), (4, 3)]
    first, second = files.staged.paths("similar_items")
    assert rows_of(first) == [
        ("A", 1, "a", 0.125, "now"),
        ("a", 1, "z", 0.5, "now"),
        ("a", 2, "bé", 0.25, "now"),
        ("bé", 1, "a", 0.25, "now"),
    ]
    assert [row[:3] for row in rows_of(second)] == [("c", 1, "é"), ("z", 1, "a"), ("é", 1, "c"), ("é", 2, "a")]


def test_nothing_found_gives_a_table_without_rows(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    assert written(files, {}) == [(0, 0)]
    (path,) = files.staged.paths("similar_items")
    assert pq.read_table(path).schema.remove_metadata() == SIMILAR_ITEMS


def test_what_a_task_wrote_of_the_table_of_neighbours_travels_once_with_whichever_file(tmp_path: Path) -> None:
    files = files_in(tmp_path, "b")
    stored = [StoredFile(name=f"neighbours/{n}.parquet", bytes=n, sha256="", rows=n) for n in range(2)]
    for lists in ({}, {"a": [("z", 0.5)], "z": [("a", 0.5)]}):
        parts = [part.to_pylist()[0] for part in files.parts(FoundPart(found(lists), stored))]
        assert [StoredFile.model_validate_json(one) for part in parts for one in part["written"]] == stored
        assert {part["file"] for part in parts} <= {0, 1}


def test_reused_file_differs_in_the_release_alone_and_is_cut_into_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar_items, "ROW_GROUP_ROWS", 8)
    old, new = (files_in(tmp_path, release_id=name) for name in ("old", "new"))
    written(old, {f"item-{number}": [("a", 0.5), ("b", 0.25)] for number in range(10)})
    (path,) = old.staged.paths("similar_items")
    reused = new.reuse(0, path)
    assert reused.rows == 20
    copy = new.staged.root / reused.name
    assert rows_of(copy) == [(*row[:-1], "new") for row in rows_of(path)]
    footer = pq.read_metadata(copy)
    assert [footer.row_group(number).num_rows for number in range(footer.num_row_groups)] == [8, 8, 4]
    assert footer.row_group(1).column(0).statistics.min == "item-4"


def changes_of(files: SimilarItemFiles) -> list[tuple[str, str]]:
    """The rows of the table `changes`, in order."""
    rows = [row for path in files.staged.paths("changes") for row in pq.read_table(path).to_pylist()]
    assert {row["kind"] for row in rows} <= {"list"}
    return sorted((row["change"], row["item_id"]) for row in rows)


def random_lists(rng: random.Random, before: Lists) -> Lists:
    """Lists of another night: some stay, and others are new, gone, empty, or differ in a neighbour or a score."""
    now: Lists = {}
    for item in (f"{chr(945 + n % 5)}-{n}" * (1 + n % 3) for n in range(60)):
        kind = rng.random()
        if kind < 0.6 and item in before:
            now[item] = before[item]
        elif kind < 0.9:
            now[item] = [(rng.choice("abé"), rng.choice([0.5, 0.25])) for _ in range(rng.randrange(4))]
    return now


@pytest.mark.parametrize("seed", range(20))
def test_lists_that_differ_from_those_of_the_release_before_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whatever files and row groups the ids of the two releases are divided into."""
    rng = random.Random(seed)
    monkeypatch.setattr(similar_items, "ROW_GROUP_ROWS", rng.choice([3, 16, 1000]))
    monkeypatch.setattr(list_changes, "_BATCH_ROWS", rng.choice([2, 7, 1000]))
    lists, previous = dict[str, list[tuple[str, float]]](), None
    for night in range(4):
        before, lists = lists, {} if rng.random() < 0.1 else random_lists(rng, lists)
        bounds = sorted(rng.sample([f"{chr(945 + n % 5)}-{n}" for n in range(0, 60, 7)], rng.randrange(4)))
        files = files_in(tmp_path, *bounds, release_id=f"r{night}", before=previous)
        written(files, lists)
        upserts = [("upsert", item) for item, named in lists.items() if named and before.get(item) != named]
        deletes = [("delete", item) for item, named in before.items() if named and not lists.get(item)]
        assert changes_of(files) == sorted(upserts + deletes)
        paths = files.staged.paths("similar_items")
        previous = PreviousLists(files.staged.shared, [(path, list_changes.ids_of_file(path)) for path in paths])


def test_task_reads_the_files_alone_that_may_have_its_items(tmp_path: Path) -> None:
    old = files_in(tmp_path, "b", "d", release_id="old")
    written(old, {item: [("x", 0.5)] for item in "abcdef"})
    paths = old.staged.paths("similar_items")
    previous = PreviousLists(old.staged.shared, [(path, list_changes.ids_of_file(path)) for path in paths])
    paths[0].unlink()
    rows = [row["item_id"] for batch in previous.batches(IdRange(b"c", b"e")) for row in batch.to_pylist()]
    assert rows == ["c", "d", "e", "f"]  # of the files of b to d and of d on
