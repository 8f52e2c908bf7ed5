"""The schema of every table, and the check of a table against it.

`embeddings` also carries the catalogue columns that `catalogue.keep_columns` names, behind its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    FloatType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from lookalike.errors import SchemaError

ITEMS = StructType(
    [
        StructField("item_id", StringType(), nullable=False),
        StructField("image_path", StringType()),
        StructField("fingerprint", StringType()),
    ]
)

EMBEDDINGS = StructType(
    [
        StructField("item_id", StringType()),
        StructField("image_path", StringType()),
        StructField("fingerprint", StringType()),
        StructField("image_hash", StringType()),
        StructField("model_id", StringType()),
        StructField("embedding", ArrayType(FloatType())),
        StructField("norm", FloatType()),
        StructField("width", IntegerType()),
        StructField("height", IntegerType()),
        StructField("fixes", ArrayType(StringType())),
        StructField("embedded_at", TimestampType()),
    ]
)

FAILURES = StructType(
    [
        StructField("item_id", StringType()),
        StructField("image_path", StringType()),
        StructField("fingerprint", StringType()),
        StructField("image_hash", StringType()),
        StructField("reason", StringType()),
        StructField("detail", StringType()),
        StructField("permanent", BooleanType()),
        StructField("attempts", IntegerType()),
        StructField("first_failed_at", TimestampType()),
        StructField("last_failed_at", TimestampType()),
    ]
)

# The result of one picture's bytes, for all items that show it: a vector, or the reason why there is none.
OUTCOMES = StructType(
    [
        EMBEDDINGS["image_hash"],
        *(EMBEDDINGS[name] for name in ("embedding", "norm", "width", "height", "fixes")),
        *(FAILURES[name] for name in ("reason", "detail", "permanent")),
        EMBEDDINGS["embedded_at"],
    ]
)

SIMILAR_ITEMS = StructType(
    [
        StructField("item_id", StringType()),
        StructField("rank", IntegerType()),
        StructField("similar_item_id", StringType()),
        StructField("score", FloatType()),
        StructField("release_id", StringType()),
    ]
)

# The lists that the search found, a few neighbours longer than in similar_items: the next refresh repairs them. A
# neighbour is a place in the index: the number of its shard << 32 | its position. The tasks write it, see
# knn.neighbour_files.
NEIGHBOURS = StructType(
    [
        StructField("position", IntegerType()),
        StructField("item_id", StringType()),
        StructField("neighbours", ArrayType(LongType())),
        StructField("scores", ArrayType(FloatType())),
        StructField("complete", BooleanType()),  # every candidate of the item's group that may be in the list is in it
        StructField(
            "from_fallback", BooleanType()
        ),  # some neighbours are from a fallback level; the list is empty here
        StructField("searched", BooleanType()),  # all candidates were searched, not only those that changed
        StructField("lists", ArrayType(IntegerType())),  # of the inverted file, that the search looked into; null: all
    ]
)

# What the index knows of an item besides its vector, see index.constraints. A kept column may not have such a name.
CONSTRAINTS = ("search_variant_group", "search_eligible", "search_group_codes")

DUPLICATES = StructType(
    [
        StructField("item_id", StringType()),
        StructField("representative_item_id", StringType()),
        StructField("score", FloatType()),
        StructField("release_id", StringType()),
    ]
)

# What to upsert and to delete so that a copy of the release before becomes this one: a row of embeddings, of kind
# `item`, or all rows that an item has in similar_items, of kind `list`.
CHANGES = StructType(
    [
        StructField("kind", StringType()),
        StructField("change", StringType()),
        StructField("item_id", StringType()),
    ]
)


# JSON that tells any two values apart: by default it leaves out nulls, and what is less than a millisecond.
_SECOND = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"
_EXACT = {"ignoreNullFields": "false", "timestampFormat": f"{_SECOND}XXX", "timestampNTZFormat": _SECOND}

# The hidden column of a table that Spark reads from files; of one that is read from a store it is a column like others.
METADATA = "_metadata"


def kept_columns(embeddings: DataFrame) -> list[str]:
    """Return the columns of the catalogue that an embeddings table has after its own."""
    return [name for name in embeddings.columns if name not in (*EMBEDDINGS.fieldNames(), METADATA)]


def as_arrow(schema: StructType) -> pa.Schema:
    """Return the schema of the same table for Arrow."""
    return to_arrow_schema(schema, timezone="UTC")


def group(column: str | None) -> Column:
    """Return the column `group` of an embeddings table: the value that neighbours share, as text, or null."""
    return (F.col(f"`{column}`").cast("string") if column else F.lit(None).cast("string")).alias("group")


def packed(names: Sequence[str]) -> Column:
    """Return the kept columns as one struct, `kept`, so that their names cannot equal those of a step's own columns."""
    # Parquet knows no struct without fields.
    return (F.struct(*(F.col(f"`{name}`") for name in names)) if names else F.lit(None).cast("string")).alias("kept")


def unpacked(names: Sequence[str]) -> list[Column]:
    """Return the kept columns from the struct `kept`."""
    return [F.col(f"kept.`{name}`") for name in names]


def comparable(column: Column, kind: DataType) -> Column:
    """Return a column of this type as one that Spark can compare, which it cannot do with maps."""
    return F.to_json(F.struct(column.alias("value")), _EXACT) if "map<" in kind.simpleString() else column


def select(table: str, frame: DataFrame, schema: StructType, extra: Sequence[str] = ()) -> DataFrame:
    """Return the columns of `schema` and `extra`, in that order; raises SchemaError when one is missing or differs."""
    for field in schema.fields:
        if field.name not in frame.columns:
            raise SchemaError(f"{table}: column '{field.name}' is missing; it has: {', '.join(frame.columns)}")
        found = frame.schema[field.name].dataType.simpleString()
        if found != field.dataType.simpleString():
            raise SchemaError(
                f"{table}: column '{field.name}' is {found}, the contract says {field.dataType.simpleString()}"
            )
    return frame.select(*schema.fieldNames(), *(F.col(f"`{name}`") for name in extra))
