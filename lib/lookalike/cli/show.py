"""Shows the current release: items with their neighbours, how good they are, and how to read it.

spark-submit jobs/show.py --config conf/demo.yaml [--set key=value …] [--items 3] [--labels a,b]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.cli import session as common
from lookalike.errors import ConfigError
from lookalike.quality.metrics import Tables, precision
from lookalike.report import samples
from lookalike.report import summary as facts
from lookalike.spark import transfers
from lookalike.spark.parquet import read
from lookalike.sql import queries, views
from lookalike.sql.dialects import DUCKDB, SPARK
from lookalike.warehouse import mirrored
from lookalike.warehouse.local import Warehouse

NEIGHBOURS = 5
PRECISION_K = 10


def show(spark: SparkSession, settings: config.Settings, options: argparse.Namespace) -> None:
    """Print the current release, part by part."""
    if not 0 <= options.items <= 1000:
        raise ConfigError(f"--items {options.items}: give 0 to 1000")
    warehouse = mirrored.open_warehouse(settings, transfers.mover(spark))
    current = warehouse.need_current()
    warehouse.fetch(current)
    root, record = current.root, current.record()
    tables = Tables(*(read(spark, path) for path in (current.embeddings, current.failures, current.similar_items)))
    labels = _labels(options.labels, tables, record)

    common.section(f"Release {record['release_id']}, made {record['created_at']}", _figures(record))
    chosen = samples.draw(tables, options.items, NEIGHBOURS)
    common.section("Some items and their neighbours", _neighbours(chosen))
    k = min(PRECISION_K, record["config"]["similar"]["k"])
    common.section(f"How often neighbours share a column's value, first {k}", _precision(tables, labels, k))
    common.section("Where it is", _places(warehouse, root))
    if chosen:
        join = _join(warehouse, record, labels, chosen[0].item.item_id)
        for name, dialect in (("Spark SQL", SPARK), ("DuckDB", DUCKDB)):
            common.section(f"In {name}", queries.join(join, dialect).splitlines())
        live = queries.live(join, record["config"]["similar"]["k"], SPARK)
        common.section("In Spark SQL, without items that have left the catalogue since", live.splitlines())


def _labels(wanted: str | None, tables: Tables, record: dict[str, Any]) -> tuple[str, ...]:
    """The columns asked for, else those that the release's own settings keep."""
    if wanted is None:
        return tuple(record["config"]["catalogue"]["keep_columns"])
    kept = samples.kept_columns(tables.embeddings)
    names = tuple(name.strip() for name in wanted.split(",") if name.strip())
    for name in names:
        if name not in kept:
            raise ConfigError(
                f"--labels names '{name}', which the release does not keep; "
                f"it keeps: {', '.join(kept) or 'no column'}. Set catalogue.keep_columns and run again."
            )
    return names


def _figures(record: dict[str, Any]) -> list[str]:
    counts = record["counts"]
    return [
        f"{counts['embedded']:,} of {counts['items']:,} pictures embedded, "
        f"{facts.pictures_per_second(record):.0f} pictures/s",
        f"{counts['similar_items']:,} similar items, recall {counts['recall']:.4f}",
        facts.steps(record),
    ]


def _neighbours(chosen: list[samples.Sample]) -> list[str]:
    rows = []
    for sample in chosen:
        rows.append((sample.item.item_id, "", *sample.item.labels))
        rows.extend(
            (f"  {found.item.item_id}", f"{found.score:.3f}", *found.item.labels) for found in sample.neighbours
        )
    return common.aligned(rows)


def _precision(tables: Tables, labels: tuple[str, ...], k: int) -> list[str]:
    """A line for each label column: precision at k, and what neighbours drawn at random would have."""
    if not labels:
        return ["no column to compare by; set catalogue.keep_columns"]
    found = [precision(tables.embeddings, tables.similar_items, name, k) for name in labels]
    rows = [(one.column, f"{one.at_k:.3f}", f"{one.chance:.3f}") for one in found]
    return common.aligned([("column", f"precision at {k}", "chance"), *rows])


def _places(warehouse: Warehouse, root: Path) -> list[str]:
    names = ("embeddings", "failures", "similar_items", "index", "release.json", "report.html")
    # The page can be switched off: report.enabled.
    return [str(warehouse.path / "current" / name) for name in names if (root / name).exists()]


def _join(warehouse: Warehouse, record: dict[str, Any], labels: tuple[str, ...], item_id: str) -> queries.Join:
    source, eligible = record["config"]["catalogue"], record["config"]["similar"].get("eligible")
    return queries.Join(
        warehouse=warehouse.path,
        catalogue=views.Catalogue(source["path"], source["item_id_column"], eligible),
        columns=(*labels, source["image_path_column"]),
        item_id=item_id,
    )


def _parser() -> argparse.ArgumentParser:
    parser = common.arguments(str(__doc__).splitlines()[0])
    parser.add_argument("--items", type=int, default=3, help="how many items to show (3)")
    parser.add_argument("--labels", metavar="A,B", help="columns to compare by (those of catalogue.keep_columns)")
    return parser


def main() -> int:
    """Run the job; the exit code."""
    return common.run(show, _parser())
