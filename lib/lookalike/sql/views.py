"""The SQL form of a release: the text of the views over its tables. No Spark.

All views read the release through one, `current_release`. To replace that one is a single step of the metastore, so
that no reader finds one table of the old release beside another of the new one. It has a row for each row of the
release's tables, in the column that `part` names; Spark takes the other branches of the union out of a query before
it reads anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lookalike import config
from lookalike.sql.dialects import SPARK, Dialect
from lookalike.warehouse.release import ReleaseFolder

POINTER = "current_release"

# Each is a folder of the release and the view of that name; the last is not in every release.
PARTS = ("similar_items", "embeddings", "failures", "duplicates")
_NO_DUPLICATES = "CAST(NULL AS STRUCT<item_id: STRING, representative_item_id: STRING, score: FLOAT>)"


@dataclass(frozen=True)
class LiveCatalogue:
    """The catalogue as it is when somebody reads: a path or URI of Parquet, or a table."""

    path: str
    item_id_column: str
    eligible: str | None = None  # a predicate over its columns

    @classmethod
    def of(cls, settings: config.Settings) -> LiveCatalogue:
        """The one that the settings name."""
        source = settings.catalogue
        return cls(source.path, source.item_id_column, settings.similar.eligible)


@dataclass(frozen=True)
class View:
    """One view of the database."""

    name: str
    comment: str
    query: str

    def statement(self, database: str) -> str:
        """What makes it, or puts it in the place of the one before."""
        name = f"`{database}`.`{self.name}`"
        return f"CREATE OR REPLACE VIEW {name} COMMENT {SPARK.text(self.comment)} AS\n{self.query}"


def pointer(release: ReleaseFolder, k: int) -> View:
    """The view that names the release; `k` is how many neighbours an item has in it, the spare ones aside."""
    there = [part for part in PARTS if (release.root / part).is_dir()]
    branches = (_branch(release, part, k, there) for part in there)
    comment = f"the release {release.release_id}, which all other views here read"
    return View(POINTER, comment, "\nUNION ALL\n".join(branches))


def _branch(release: ReleaseFolder, part: str, k: int, there: list[str]) -> str:
    columns = (_column(part, one, there) for one in PARTS)
    source = SPARK.folder(release.root / part)
    return f"SELECT '{part}' AS part, {k} AS k, {', '.join(columns)}\nFROM {source}"


def _column(part: str, column: str, there: list[str]) -> str:
    """A null takes its type from the branch that has the column, if there is one."""
    if part == column:
        return f"struct(*) AS {column}"
    return f"{'NULL' if column in there else _NO_DUPLICATES} AS {column}"


def readers(database: str, catalogue: LiveCatalogue) -> Iterator[View]:
    """The views that read through the pointer: the same texts for every release."""

    def part(name: str, columns: str = "") -> str:
        return f"SELECT {name}.*{columns} FROM `{database}`.`{POINTER}` WHERE part = '{name}'"

    similar = f"{part('similar_items')} AND similar_items.rank <= k"
    live_query = live(f"({part('similar_items', ', k')})", "s.k", catalogue, SPARK)
    yield View("similar_items", "the neighbours of each item, a row a neighbour", similar)
    yield View("similar_items_nested", "the neighbours of each item, a row an item", nested(f"({similar})", SPARK))
    yield View("similar_items_live", "the neighbours that the catalogue still has when they are read", live_query)
    yield View("embeddings", "the vectors of the items", part("embeddings"))
    yield View("failures", "the items without a vector, and why", part("failures"))
    yield View(
        "duplicates", "items that show what another item shows; empty where none were looked for", part("duplicates")
    )


def nested(similar: str, dialect: Dialect) -> str:
    """One row for each item that has neighbours; `similar` is the table or a query in parentheses."""
    neighbours = dialect.structs_by_rank("rank", "similar_item_id", "score")
    return f"SELECT item_id, {neighbours} AS neighbours\nFROM {similar} AS s\nGROUP BY item_id"


def live(similar: str, k: str, catalogue: LiveCatalogue, dialect: Dialect) -> str:
    """The first `k` neighbours, ranked anew, among those that the catalogue has and `eligible` lets through.

    An item that the catalogue has no more has none; one that is not eligible still has its own. `similar` is the
    table or a query in parentheses, `k` a number or one of its columns, as s.k.
    """
    # On lines of its own, since it may end with a comment; null is not eligible.
    eligible = "TRUE" if catalogue.eligible is None else f"COALESCE((\n{catalogue.eligible}\n), FALSE)"
    return f"""WITH catalogue_now AS (
  SELECT CAST(c.{dialect.name(catalogue.item_id_column)} AS STRING) AS item_id, {eligible} AS eligible
  FROM {dialect.catalogue(catalogue.path)} AS c
), standing AS (
  SELECT s.item_id, CAST(row_number() OVER (PARTITION BY s.item_id ORDER BY s.rank) AS INT) AS rank,
    s.similar_item_id, s.score, s.release_id, {k} AS k
  FROM {similar} AS s
  WHERE s.item_id IN (SELECT item_id FROM catalogue_now)
    AND s.similar_item_id IN (SELECT item_id FROM catalogue_now WHERE eligible)
)
SELECT item_id, rank, similar_item_id, score, release_id FROM standing WHERE rank <= k"""
