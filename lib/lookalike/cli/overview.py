"""The current release on one page: a few items with their neighbours, how good they are, and how to read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.catalogue.objects import kind_for_sql
from lookalike.cli import item, output
from lookalike.errors import ConfigError
from lookalike.quality.labels import PRECISION_K
from lookalike.quality.metrics import Precision, precision
from lookalike.report import samples, summary
from lookalike.spark import release_tables, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.sql import queries, views
from lookalike.sql.dialects import DUCKDB, SPARK
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder

NEIGHBOURS = 5
TITLES = {
    "spark": "In Spark SQL",
    "duckdb": "In DuckDB",
    "spark_live": "In Spark SQL, without items that have left the catalogue since",
}
PARTS = ("embeddings", "failures", "similar_items", "index", "release.json", "report.html")


@dataclass(frozen=True)
class Overview:
    """What `show` shows of a release."""

    release: ReleaseFolder
    record: ReleaseRecord
    samples: list[samples.ItemWithNeighbours]
    precision: list[Precision]
    places: dict[str, Path]
    queries: dict[str, str]  # as TITLES names them

    @property
    def k(self) -> int:
        """How many neighbours of each item the precision counts."""
        return precision_k(self.record)

    @property
    def report(self) -> Path | None:
        """The page; None where report.enabled was false."""
        return self.places.get("report.html")

    def as_json(self) -> dict[str, Any]:
        """Return what `show --json` prints."""
        return {
            **self.record.model_dump(mode="json", include={"release_id", "created_at", "counts", "seconds"}),
            "items": _items(self.release, self.samples),
            "precision": [
                {"column": one.column, "k": self.k, "precision": one.at_k, "chance": one.chance}
                for one in self.precision
            ],
            "places": {name: str(path) for name, path in self.places.items()},
            "queries": self.queries,
        }

    def print(self) -> None:
        """Print the page, part by part."""
        title = f"Release {self.record.release_id}, made {self.record.created_at.isoformat()}"
        output.section(title, _figures(self.record))
        output.section("Some items and their neighbours", _neighbours(self.samples))
        output.section(f"How often neighbours share a column's value, first {self.k}", self._precision())
        output.section("Where it is", map(str, self.places.values()))
        for name, query in self.queries.items():
            output.section(TITLES[name], query.splitlines())

    def _precision(self) -> list[str]:
        """Return a line for each column: precision at k, and that of neighbours drawn at random."""
        if not self.precision:
            return ["no column to compare by; set catalogue.keep_columns"]
        rows = [(one.column, f"{one.at_k:.3f}", f"{one.chance:.3f}") for one in self.precision]
        return output.aligned([("column", f"precision at {self.k}", "chance"), *rows])


def read(spark: SparkSession, settings: config.Settings, *, items: int, labels: str | None) -> Overview:
    """Read the current release; raises ConfigError when `labels`, separated by commas, names a column it lacks."""
    warehouse = opening.open_warehouse(settings)
    current = warehouse.need_current()
    tables = release_tables.open_tables(spark, current)
    record = tables.record
    columns = _label_columns(labels, tables, record)
    chosen = samples.draw(tables, items, NEIGHBOURS)
    k = precision_k(record)
    source = settings.catalogue.model_copy(update={"path": record.config.catalogue.path})
    made_with = settings.model_copy(update={"catalogue": source})
    return Overview(
        release=current,
        record=record,
        samples=chosen,
        precision=[precision(tables.embeddings, tables.similar_items, name, k) for name in columns],
        places=_places(warehouse, current.root),
        queries=_queries(warehouse, record, columns, chosen[0].item.item_id, kind_for_sql(made_with)) if chosen else {},
    )


def precision_k(record: ReleaseRecord) -> int:
    """Return the k of the precision that is shown: 10, or all neighbours where there are fewer."""
    return min(PRECISION_K, record.config.similar.k)


def _label_columns(wanted: str | None, tables: ReleaseTables, record: ReleaseRecord) -> tuple[str, ...]:
    """Return the columns that the user names, else those of the release's own catalogue.keep_columns."""
    if wanted is None:
        return record.config.catalogue.keep_columns
    kept = schemas.kept_columns(tables.embeddings)
    names = tuple(name.strip() for name in wanted.split(",") if name.strip())
    for name in names:
        if name not in kept:
            raise ConfigError(
                f"--labels names '{name}', which the release does not keep; "
                f"it keeps: {', '.join(kept) or 'no column'}. Set catalogue.keep_columns and run again."
            )
    return names


def _figures(record: ReleaseRecord) -> list[str]:
    counts = record.counts
    return [
        f"{counts.embedded:,} of {counts.items:,} pictures embedded{summary.rate(record)}",
        f"{counts.similar_items:,} similar items, recall {counts.recall:.4f}",
        summary.steps(record),
    ]


def _neighbours(chosen: list[samples.ItemWithNeighbours]) -> list[str]:
    rows = []
    for sample in chosen:
        rows.append((sample.item.item_id, "", *sample.item.labels))
        rows.extend(
            (f"  {found.item.item_id}", f"{found.score:.3f}", *found.item.labels) for found in sample.neighbours
        )
    return output.aligned(rows)


def _items(release: ReleaseFolder, chosen: list[samples.ItemWithNeighbours]) -> list[dict[str, Any]]:
    """Return the samples as JSON types. Their labels have types again; those of a sample are text."""
    ids = {sample.item.item_id for sample in chosen}
    ids |= {neighbour.item.item_id for sample in chosen for neighbour in sample.neighbours}
    described = item.describe(release, sorted(ids))
    return [
        {
            **described[sample.item.item_id].as_json(),
            "neighbours": [
                {"rank": rank, **described[neighbour.item.item_id].as_json(), "score": neighbour.score}
                for rank, neighbour in enumerate(sample.neighbours, 1)
            ],
        }
        for sample in chosen
    ]


def _places(warehouse: Warehouse, root: Path) -> dict[str, Path]:
    # The page can be switched off: report.enabled.
    return {name: warehouse.path / "current" / name for name in PARTS if (root / name).exists()}


def _queries(
    warehouse: Warehouse, record: ReleaseRecord, columns: tuple[str, ...], item_id: str, kind: str
) -> dict[str, str]:
    source, similar = record.config.catalogue, record.config.similar
    join = queries.Join(
        warehouse=warehouse.path,
        catalogue=views.LiveCatalogue(source.path, source.item_id_column, similar.eligible, kind),
        columns=columns,
        item_id=item_id,
        path_column=source.image_path_column,
    )
    return {
        "spark": queries.join(join, SPARK),
        "duckdb": queries.join(join, DUCKDB),
        "spark_live": queries.live(join, similar.k, SPARK),
    }
