"""The SQL views over the tables of a release.

All views read the release through one, `current_release`. The metastore replaces it in one step, so that no reader
sees one table of the old release and another of the new one. It has a row for each row of the release's tables, in the
column that `part` names; Spark removes the other branches of the union from a query before it reads anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lookalike import config
from lookalike.sql.dialects import SPARK, Dialect
from lookalike.warehouse.release import ReleaseFolder

POINTER = "current_release"

# Each is a folder of the release and a view of that name.
PARTS = ("similar_items", "embeddings", "failures", "changes", "duplicates")
# What a row has of those that not every release has.
_NONE_OF = {
    "changes": "CAST(NULL AS STRUCT<kind: STRING, change: STRING, item_id: STRING>)",
    "duplicates": "CAST(NULL AS STRUCT<item_id: STRING, representative_item_id: STRING, score: FLOAT>)",
}


@dataclass(frozen=True)
class LiveCatalogue:
    """The catalogue as it is when a view is read: files of a kind at a path or URI, or a table.

    Where SQL does not read that kind, the items of the release stand for it: the catalogue as it was in the last run.
    """

    path: str
    item_id_column: str
    eligible: str | None = None  # a predicate over its columns
    kind: str = "parquet"

    @classmethod
    def of(cls, settings: config.Settings, kind: str) -> LiveCatalogue:
        """Return the catalogue of the settings."""
        source = settings.catalogue
        return cls(source.path, source.item_id_column, settings.similar.eligible, kind)

    def source(self, dialect: Dialect) -> str | None:
        """Return its table, None where SQL does not read it."""
        return dialect.catalogue(self.path, self.kind)

    def items(self, embeddings: str, dialect: Dialect) -> str:
        """Return a query for the ids, as text, and whether they are eligible; `embeddings` is that of the release."""
        if (source := self.source(dialect)) is None:
            eligible = "TRUE" if self.eligible is None else f"COALESCE(c.{config.ELIGIBLE}, FALSE)"
            return f"SELECT c.item_id, {eligible} AS eligible\n  FROM {embeddings} AS c"
        # The predicate has lines of its own, since it may end with a comment. Null is not eligible.
        eligible = "TRUE" if self.eligible is None else f"COALESCE((\n{self.eligible}\n), FALSE)"
        key = f"CAST(c.{dialect.name(self.item_id_column)} AS STRING)"
        return f"SELECT {key} AS item_id, {eligible} AS eligible\n  FROM {source} AS c"


@dataclass(frozen=True)
class View:
    """One view of the database."""

    name: str
    comment: str
    query: str

    def statement(self, database: str) -> str:
        """Return the statement that creates or replaces the view."""
        name = f"`{database}`.`{self.name}`"
        return f"CREATE OR REPLACE VIEW {name} COMMENT {SPARK.text(self.comment)} AS\n{self.query}"


def pointer(release: ReleaseFolder, k: int) -> View:
    """Return the view that names the release; `k` is how many neighbours an item has in it, without the spare ones."""
    there = [part for part in PARTS if (release.root / part).is_dir()]
    branches = (_branch(release, part, k, there) for part in there)
    comment = f"the release {release.release_id}, which all other views here read"
    return View(POINTER, comment, "\nUNION ALL\n".join(branches))


def _branch(release: ReleaseFolder, part: str, k: int, there: list[str]) -> str:
    columns = (_column(part, one, there) for one in PARTS)
    source = SPARK.folder(release.root / part)
    return f"SELECT '{part}' AS part, {k} AS k, {', '.join(columns)}\nFROM {source}"


def _column(part: str, column: str, there: list[str]) -> str:
    """Return a column of one branch; a null takes its type from the branch that has the column, if there is one."""
    if part == column:
        return f"struct(*) AS {column}"
    return f"{'NULL' if column in there else _NONE_OF[column]} AS {column}"


def readers(database: str, catalogue: LiveCatalogue) -> Iterator[View]:
    """Yield the views that read `current_release`; their texts are the same for every release."""

    def part(name: str, columns: str = "") -> str:
        return f"SELECT {name}.*{columns} FROM `{database}`.`{POINTER}` WHERE part = '{name}'"

    similar = f"{part('similar_items')} AND similar_items.rank <= k"
    items = catalogue.items(f"({part('embeddings')})", SPARK)
    live_query = live(f"({part('similar_items', ', k')})", "s.k", items)
    yield View("similar_items", "the neighbours of each item, a row a neighbour", similar)
    yield View("similar_items_nested", "the neighbours of each item, a row an item", nested(f"({similar})", SPARK))
    yield View("similar_items_live", "the neighbours that the catalogue still has when they are read", live_query)
    yield View("embeddings", "the vectors of the items", part("embeddings"))
    yield View("failures", "the items without a vector, and why", part("failures"))
    yield View(
        "changes",
        "what to upsert and to delete so that a copy of the release before becomes this one",
        part("changes"),
    )
    yield View(
        "duplicates",
        "items that show the same picture as another; empty where duplicates are not searched",
        part("duplicates"),
    )


def nested(similar: str, dialect: Dialect) -> str:
    """Return a query with one row for each item that has neighbours; `similar` is a table or a query in parentheses."""
    neighbours = dialect.structs_by_rank("rank", "similar_item_id", "score")
    return f"SELECT item_id, {neighbours} AS neighbours\nFROM {similar} AS s\nGROUP BY item_id"


def live(similar: str, k: str, items: str) -> str:
    """Return a query for the first `k` neighbours that are still in the catalogue and eligible, with new ranks.

    An item that has left the catalogue has none; an item that is not eligible has its own. `similar` is a table or a
    query in parentheses, `k` a number or one of its columns, as s.k; `items` is a query of LiveCatalogue.items.
    """
    return f"""WITH catalogue_now AS (
  {items}
), standing AS (
  SELECT s.item_id, CAST(row_number() OVER (PARTITION BY s.item_id ORDER BY s.rank) AS INT) AS rank,
    s.similar_item_id, s.score, s.release_id, {k} AS k
  FROM {similar} AS s
  WHERE s.item_id IN (SELECT item_id FROM catalogue_now)
    AND s.similar_item_id IN (SELECT item_id FROM catalogue_now WHERE eligible)
)
SELECT item_id, rank, similar_item_id, score, release_id FROM standing WHERE rank <= k"""
