"""Check that the catalogue keeps its contract: its columns before a row is read, then its rows."""

from __future__ import annotations

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    IntegralType,
    MapType,
    StringType,
    StructType,
)

from lookalike import config
from lookalike.errors import CatalogueError
from lookalike.spark import schemas
from lookalike.spark.parquet import condition

# Item ids travel as fixed-width bytes through the neighbour search; a longer one is a mistake in the table.
MAX_ID_BYTES = 256

# A group is a department of the shop, not an item. More values mean a wrong column, and would cost one file each.
# The combinations with the columns of group_fallback may be ten times as many.
MAX_GROUPS = 20_000
MAX_COMBINATIONS = 10 * MAX_GROUPS

# Names that a kept column cannot have, in lower case: Spark's names are case-insensitive.
_RESERVED = {*schemas.EMBEDDINGS.fieldNames(), *schemas.FAILURES.fieldNames(), *schemas.SEARCH_COLUMNS}


def is_derived(column: str, settings: config.Settings) -> bool:
    """Return whether `similar.eligible` makes a kept column, which the catalogue then does not have."""
    return settings.similar.eligible is not None and column == config.ELIGIBLE


def check_columns(frame: DataFrame, settings: config.Settings) -> None:
    """Check that the catalogue has every column that the settings name, in a usable type; raises CatalogueError."""
    source = settings.catalogue
    for key, column in (
        ("catalogue.item_id_column", source.item_id_column),
        ("catalogue.image_path_column", source.image_path_column),
    ):
        if column not in frame.columns:
            raise CatalogueError(f"catalogue.path has no column '{column}'; it has: {_names(frame)}. Set {key}.")
        if "`" in column:
            raise CatalogueError(f"{key}: '{column}' has a backtick in its name; rename it in a view")
    _check_fingerprint(frame, source.fingerprint_column)
    for column in settings.kept_columns:
        if not is_derived(column, settings):
            _check_kept(frame, column, _key(column, settings.similar))
    _check_type(frame, "catalogue.item_id_column", source.item_id_column, (StringType, IntegralType))
    _check_type(frame, "catalogue.image_path_column", source.image_path_column, (StringType,))


def _names(frame: DataFrame) -> str:
    return ", ".join(frame.columns) or "no columns"


def _check_type(frame: DataFrame, key: str, column: str, types: tuple[type[DataType], ...]) -> None:
    found = frame.schema[column].dataType
    if not isinstance(found, types):
        advice = "use strings or integers" if IntegralType in types else "use strings"
        raise CatalogueError(f"{key} '{column}' is {found.simpleString()}; {advice}")


def _is_nested(kind: DataType) -> bool:
    return isinstance(kind, BinaryType | ArrayType | MapType | StructType)


def _check_fingerprint(frame: DataFrame, column: str | None) -> None:
    if column is None:
        return
    key = "catalogue.fingerprint_column"
    if column not in frame.columns or "`" in column:
        raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; it has: {_names(frame)}")
    kind = frame.schema[column].dataType
    if _is_nested(kind):
        raise CatalogueError(f"{key} names '{column}', which is {kind.simpleString()}; take a text, number or time")


def _check_kept(frame: DataFrame, column: str, key: str) -> None:
    if column not in frame.columns:
        raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; it has: {_names(frame)}")
    kind = frame.schema[column].dataType
    if key.startswith("similar.") and _is_nested(kind):
        raise CatalogueError(f"{key} names '{column}', which is {kind.simpleString()}; take a column of plain values")
    if column.lower() in _RESERVED or "`" in column:
        raise CatalogueError(f"{key} names '{column}', a name that the embed step uses itself; rename it in a view")


def _key(column: str, similar: config.SimilarSettings) -> str:
    """Return the setting that names a kept column."""
    if column == similar.group_by:
        return "similar.group_by"
    if column in similar.group_fallback:
        return "similar.group_fallback"
    return "similar.variant_of" if column == similar.variant_of else "catalogue.keep_columns"


def check_predicate(frame: DataFrame, predicate: str) -> None:
    """Check that `similar.eligible` is true or false for a row of the catalogue; raises CatalogueError."""
    text = " ".join(predicate.split())
    try:
        kind = frame.select(F.expr(predicate)).schema[0].dataType
        if isinstance(kind, BooleanType):
            _ = frame.where(F.expr(predicate)).schema  # refuses an expression over several rows
    except PySparkException as error:
        raise CatalogueError(
            f"similar.eligible: '{text}' is no SQL predicate over the catalogue ({condition(error)}); "
            f"its columns: {', '.join(frame.columns)}"
        ) from None
    if not isinstance(kind, BooleanType):
        raise CatalogueError(
            f"similar.eligible: '{text}' is {kind.simpleString()}, not true or false; compare it with a value"
        )


def check_rows(items: DataFrame, settings: config.Settings) -> None:
    """Read every row once and check its values; raises CatalogueError before hours of embedding, not after them."""
    source, similar = settings.catalogue, settings.similar
    try:
        _check_values(items, source)
        if similar.group_by is not None:
            _check_groups(items, similar)
        if similar.eligible is not None:
            _check_eligible(items, similar.eligible)
    except (PySparkException, Py4JJavaError) as error:  # a good footer in front of damaged pages
        raise CatalogueError(
            f"catalogue.path: {source.path} cannot be read to its end ({condition(error)}); write it again"
        ) from None


def _check_groups(items: DataFrame, similar: config.SimilarSettings) -> None:
    names = [name for name in (similar.group_by, *similar.group_fallback) if name]
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


def _check_eligible(items: DataFrame, predicate: str) -> None:
    """Evaluate the predicate on every row: a division by zero would otherwise end a later step."""
    try:
        items.agg(F.count_if(F.col(config.ELIGIBLE))).first()
    except (PySparkException, Py4JJavaError) as error:
        raise CatalogueError(
            f"similar.eligible: '{' '.join(predicate.split())}' fails on a row of the catalogue ({condition(error)}); "
            "guard it, for example with try_cast or try_divide"
        ) from None


def _check_values(items: DataFrame, source: config.CatalogueSettings) -> None:
    not_text = ~F.is_valid_utf8("item_id") | (F.instr("item_id", "\0") > 0) | ~F.is_valid_utf8("image_path")
    counts = {
        "items": F.count("*"),
        "null_ids": F.count_if(F.col("item_id").isNull() | (F.col("item_id") == "")),
        "null_paths": F.count_if(F.col("image_path").isNull()),
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


def _only_row(aggregate: DataFrame) -> Row:
    row = aggregate.first()
    assert row is not None  # an aggregate without keys has one row
    return row


def _problem(found: Row, source: config.CatalogueSettings) -> str | None:
    """Return what is wrong with the values that were counted, and what to do."""
    item_id, image_path = source.item_id_column, source.image_path_column
    problems = {
        "null_ids": f"of {found['items']:,} rows have a null or empty '{item_id}'; drop them or give them ids",
        "long_ids": f"values of '{item_id}' are longer than {MAX_ID_BYTES} bytes; is it the right column?",
        "not_texts": f"rows have a '{item_id}' or '{image_path}' that is not UTF-8 text, or has a NUL; correct them",
        "null_paths": f"of {found['items']:,} rows have a null '{image_path}'; drop them from the catalogue",
    }
    if found["items"] == 0:
        return f"catalogue.path: {source.path} has no rows; nothing to do"
    return next((f"catalogue: {found[name]:,} {text}" for name, text in problems.items() if found[name]), None)
