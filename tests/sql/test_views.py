"""The text of the views: what each shows, run by Spark and by DuckDB over tables made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike.sql import views
from lookalike.sql.dialects import DUCKDB, SPARK, Dialect
from lookalike.sql.views import LiveCatalogue
from lookalike.warehouse.release import ReleaseFolder
from support.similar_table import Neighbour, write_similar

Query = Callable[[str], list[Any]]

# Items a, b and c with two neighbours and a spare one each; d is the first neighbour of none.
SIMILAR: list[Neighbour] = [
    ("a", 1, "b", 0.75),
    ("a", 2, "c", 0.5),
    ("a", 3, "d", 0.25),
    ("b", 1, "a", 0.75),
    ("b", 2, "c", 0.5),
    ("b", 3, "d", 0.25),
    ("c", 1, "b", 0.5),
    ("c", 2, "a", 0.5),
    ("c", 3, "d", 0.25),
]


@pytest.fixture(params=["spark", "duckdb"])
def engine(request: pytest.FixtureRequest) -> tuple[Dialect, Query]:
    """A dialect, and what runs its queries."""
    if request.param == "duckdb":
        return DUCKDB, lambda query: duckdb.sql(query).fetchall()
    spark: SparkSession = request.getfixturevalue("spark")
    return SPARK, lambda query: [tuple(row) for row in spark.sql(query).collect()]


def write_catalogue(folder: Path, **columns: list[Any]) -> Path:
    path = folder / "items.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def live(
    engine: tuple[Dialect, Query], similar: Path, catalogue: Path, k: int = 2, column: str = "id", **more: Any
) -> dict[str, list[tuple[int, str, float]]]:
    dialect, run = engine
    items = LiveCatalogue(str(catalogue), column, **more).items("none", dialect)
    query = views.live(dialect.folder(similar), str(k), items)
    found: dict[str, list[tuple[int, str, float]]] = {}
    for item_id, rank, other, score, release_id in sorted(run(query)):
        assert release_id == "r"
        found.setdefault(item_id, []).append((rank, other, score))
    return found


def test_first_k_are_shown_while_all_are_in_the_catalogue(engine: tuple[Dialect, Query], tmp_path: Path) -> None:
    similar = write_similar(tmp_path / "s", SIMILAR)
    found = live(engine, similar, write_catalogue(tmp_path, id=["a", "b", "c", "d"]))
    assert found == {
        "a": [(1, "b", 0.75), (2, "c", 0.5)],
        "b": [(1, "a", 0.75), (2, "c", 0.5)],
        "c": [(1, "b", 0.5), (2, "a", 0.5)],
    }


def test_spare_one_fills_up_for_one_that_left_and_ranks_have_no_gap(
    engine: tuple[Dialect, Query], tmp_path: Path
) -> None:
    similar = write_similar(tmp_path / "s", SIMILAR)
    found = live(engine, similar, write_catalogue(tmp_path, id=["a", "c", "d", None, "a"]))
    assert found == {"a": [(1, "c", 0.5), (2, "d", 0.25)], "c": [(1, "a", 0.5), (2, "d", 0.25)]}


def test_list_is_shorter_when_the_spare_ones_are_used_up_and_gone_when_all_left(
    engine: tuple[Dialect, Query], tmp_path: Path
) -> None:
    similar = write_similar(tmp_path / "s", [*SIMILAR, ("e", 1, "b", 0.5)])
    assert live(engine, similar, write_catalogue(tmp_path, id=["a", "d", "e"])) == {"a": [(1, "d", 0.25)]}


def test_items_that_are_not_eligible_or_of_whom_it_is_unknown_are_not_shown_but_have_their_own(
    engine: tuple[Dialect, Query], tmp_path: Path
) -> None:
    similar = write_similar(tmp_path / "s", SIMILAR)
    catalogue = write_catalogue(tmp_path, id=["a", "b", "c", "d"], stock=[1, 0, None, 5], rank=[9, 9, 9, 9])
    found = live(engine, similar, catalogue, eligible="stock > 0 AND rank = 9 -- of the catalogue")
    assert found == {
        "a": [(1, "d", 0.25)],
        "b": [(1, "a", 0.75), (2, "d", 0.25)],
        "c": [(1, "a", 0.5), (2, "d", 0.25)],
    }


def test_integer_ids_of_a_column_with_an_odd_name(engine: tuple[Dialect, Query], tmp_path: Path) -> None:
    similar = write_similar(tmp_path / "s", [("1", 1, "2", 0.5), ("1", 2, "3", 0.25)])
    catalogue = write_catalogue(tmp_path, **{'sku "no" `1`': [1, 3]})
    assert live(engine, similar, catalogue, column='sku "no" `1`') == {"1": [(1, "3", 0.25)]}


def test_empty_tables_are_no_error(engine: tuple[Dialect, Query], tmp_path: Path) -> None:
    similar = write_similar(tmp_path / "s", [])
    catalogue = write_catalogue(tmp_path, id=pa.array([], pa.string()))
    dialect, run = engine
    assert live(engine, similar, catalogue) == {}
    assert run(views.nested(dialect.folder(similar), dialect)) == []


def test_nested_form_has_a_row_an_item_with_its_neighbours_by_rank(
    engine: tuple[Dialect, Query], tmp_path: Path
) -> None:
    similar = write_similar(tmp_path / "it's [x]*{y}", SIMILAR[::-1])
    dialect, run = engine
    rows = dict(run(views.nested(dialect.folder(similar), dialect)))
    assert sorted(rows) == ["a", "b", "c"]
    first = rows["c"][0] if isinstance(rows["c"][0], dict) else rows["c"][0].asDict()
    assert first == {"rank": 1, "similar_item_id": "b", "score": 0.5}
    assert [one["similar_item_id"] for one in rows["c"]] == ["b", "a", "d"]


def test_statement_quotes_what_a_path_holds() -> None:
    view = views.pointer(ReleaseFolder(Path("/it's `here`/releases/r")), 5)
    assert view.statement("shop").startswith("CREATE OR REPLACE VIEW `shop`.`current_release` COMMENT 'the release r")
