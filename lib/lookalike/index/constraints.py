"""Which items may be neighbours, as columns of numbers: the constraints of section `similar`."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.spark import schemas


def with_constraints(embeddings: DataFrame, similar: config.SimilarSettings) -> DataFrame:
    """Return `embeddings` with the columns schemas.CONSTRAINTS.

    `search_variant_group` (bigint) is equal for the variants of one product, `search_eligible` tells whether the item
    may be recommended, and `search_group_codes` (array of bigint) has a code for the value of group_by and of each
    fallback level.
    """
    eligible = F.col(config.ELIGIBLE) if similar.eligible else F.lit(True)
    levels = [similar.group_by, *similar.group_fallback]
    return embeddings.select(
        "*",
        _variant_group(similar.variant_of).alias("search_variant_group"),
        eligible.alias("search_eligible"),
        F.array(*(_code("group", schemas.group(name)) for name in levels)).alias("search_group_codes"),
    )


def item_rows(embeddings: DataFrame, similar: config.SimilarSettings) -> DataFrame:
    """Return what the index knows of the items of `embeddings`, a table that is read from its files.

    item_id, image_hash, model_id, the group and the constraints as in `items.ITEMS`, and where the vector is: the name
    of the file, `source`, and the number of the row there, `row`.
    """
    return with_constraints(embeddings, similar).select(
        "item_id",
        "image_hash",
        "model_id",
        schemas.group(similar.group_by),
        F.col("search_variant_group").alias("variant_group"),
        F.col("search_eligible").alias("eligible"),
        F.col("search_group_codes").alias("group_codes"),
        F.col("_metadata.file_name").alias("source"),
        F.col("_metadata.row_index").alias("row"),
    )


def _variant_group(variant_of: str | None) -> Column:
    """A code for the product, and one of its own for an item without a product."""
    own = _code("item", F.col("item_id"))
    if variant_of is None:
        return own
    value = F.col(f"`{variant_of}`").cast("string")
    return F.when(value.isNull(), own).otherwise(_code("variant", value))


def _code(kind: str, value: Column) -> Column:
    """64 bits: the chance that two of a million values share a code is 3 in a hundred million."""
    return F.xxhash64(F.lit(kind), value)
