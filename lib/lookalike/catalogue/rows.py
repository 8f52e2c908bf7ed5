"""The values of the catalogue as the run takes them, and their checks, before hours of embedding and not after them."""

from __future__ import annotations

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Observation, Row
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DoubleType, FloatType, StringType

from lookalike import config
from lookalike.catalogue import eligible
from lookalike.errors import CatalogueError, raised_in_worker
from lookalike.spark.parquet import condition

# Item ids travel as fixed-width bytes through the neighbour search; a longer one is a mistake in the table.
MAX_ID_BYTES = 256

# A group is a department of the shop, not an item. More values mean a wrong column, and would cost one file each.
# The combinations with the columns of group_fallback may be ten times as many.
MAX_GROUPS = 20_000
MAX_COMBINATIONS = 10 * MAX_GROUPS


def readable(frame: DataFrame, column: Column) -> Column:
    """Return a column as it is, a text with U+FFFD in place of what is not UTF-8: only Spark could read that."""
    return F.make_valid_utf8(column) if isinstance(_type(frame, column), StringType) else column


def kept(frame: DataFrame, column: Column, name: str, settings: config.Settings) -> Column:
    """Return a kept column; where items are grouped by it, NaN, pandas' sign of no value, is null, and -0.0 is 0.0."""
    column, kind = readable(frame, column), _type(frame, column)
    if name in settings.similar.columns and isinstance(kind, DoubleType | FloatType):
        column = F.when(F.isnan(column), None).when(column == 0, F.lit(0.0).cast(kind)).otherwise(column)
    return column.alias(name)


def _type(frame: DataFrame, column: Column) -> DataType:
    return frame.select(column).schema[0].dataType


def check_rows(items: DataFrame, settings: config.Settings) -> int:
    """Read every row once, check its values and return the number of rows.

    Raises CatalogueError, before hours of embedding and not after them.
    """
    source, similar = settings.catalogue, settings.similar
    about = Observation("catalogue")  # what the checks of groups and predicate need, in the same pass
    try:
        try:
            rows = _check_values(items.observe(about, *_about(similar)), source)
        except (PySparkException, Py4JJavaError):
            _check_one_by_one(items, settings)
            raise
        if about.get["groups"] > MAX_GROUPS / 2:  # it is off by 5 %
            _check_groups(items, similar)
    except (PySparkException, Py4JJavaError) as error:  # a good footer in front of damaged pages
        raise raised_in_worker(str(error)) or CatalogueError(
            f"catalogue.path: {source.path} cannot be read to its end ({condition(error)}); write it again"
        ) from None
    return rows


def _about(similar: config.SimilarSettings) -> list[Column]:
    """Return about how many combinations of groups there are, and how many items are eligible by the predicate."""
    names = [F.col(f"`{name}`") for name in _group_columns(similar)]
    predicate = F.col(config.ELIGIBLE) if similar.eligible is not None else F.lit(True)
    return [
        F.approx_count_distinct(F.struct(*names) if names else F.lit(0)).alias("groups"),
        F.count_if(predicate).alias("eligible"),
    ]


def _check_one_by_one(items: DataFrame, settings: config.Settings) -> None:
    """Check again, one after the other, what failed together, to name the one that does."""
    _check_values(items, settings.catalogue)
    if settings.similar.eligible is not None:
        eligible.check_values(items, settings.similar.eligible)


def _group_columns(similar: config.SimilarSettings) -> list[str]:
    return [similar.group_by, *similar.group_fallback] if similar.group_by is not None else []


def _check_groups(items: DataFrame, similar: config.SimilarSettings) -> None:
    names = _group_columns(similar)
    combinations = items.select(*(F.col(f"`{name}`") for name in names)).distinct()
    found = _only_row(
        combinations.agg(F.count("*").alias("combinations"), F.count_distinct(f"`{names[0]}`").alias("groups"))
    )
    if found["groups"] > MAX_GROUPS:
        raise CatalogueError(
            f"similar.group_by: '{names[0]}' has {found['groups']:,} values, {MAX_GROUPS:,} at most are groups; choose "
            "a coarser column"
        )
    if found["combinations"] > MAX_COMBINATIONS:
        raise CatalogueError(
            f"similar.group_fallback: its columns and '{names[0]}' have {found['combinations']:,} combinations, "
            f"{MAX_COMBINATIONS:,} at most can be searched; choose coarser columns"
        )


def _check_values(items: DataFrame, source: config.CatalogueSettings) -> int:
    not_text = ~F.is_valid_utf8("item_id") | (F.instr("item_id", "\0") > 0)
    counts = {
        "items": F.count("*"),
        "null_ids": F.count_if(F.col("item_id").isNull() | (F.col("item_id") == "")),
        "long_ids": F.count_if(F.octet_length("item_id") > MAX_ID_BYTES),
        "not_texts": F.count_if(not_text),
    }
    by_id = items.groupBy("item_id").agg(*(count.alias(name) for name, count in counts.items()))
    found = _only_row(
        by_id.agg(
            *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in counts),
            F.count_if(F.col("items") > 1).alias("repeated_ids"),
        )
    )
    if problem := _problem(found, source):
        raise CatalogueError(problem)
    if found["repeated_ids"]:
        examples = by_id.where("items > 1").orderBy("item_id").limit(3).collect()
        raise CatalogueError(
            f"catalogue: '{source.item_id_column}' is not unique, for example "
            f"{', '.join(row['item_id'] for row in examples)}; keep one row an item"
        )
    return int(found["items"])


def _only_row(aggregate: DataFrame) -> Row:
    row = aggregate.first()
    assert row is not None  # an aggregate without keys has one row
    return row


def _problem(found: Row, source: config.CatalogueSettings) -> str | None:
    """Return what is wrong with the values that were counted, and what to do."""
    item_id = source.item_id_column
    problems = {
        "null_ids": f"of {found['items']:,} rows have a null or empty '{item_id}'; drop them or give them ids",
        "long_ids": f"values of '{item_id}' are longer than {MAX_ID_BYTES} bytes; is it the right column?",
        "not_texts": f"rows have a '{item_id}' that is not UTF-8 text, or has a NUL; correct them",
    }
    if found["items"] == 0:
        return f"catalogue.path: {source.path} has no rows; nothing to do"
    return next((f"catalogue: {found[name]:,} {text}" for name, text in problems.items() if found[name]), None)
