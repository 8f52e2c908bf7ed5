"""Who may be whose neighbour, as columns of numbers that travel beside the vectors: the rules of `similar`."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.spark import schemas


def with_rules(embeddings: DataFrame, similar: config.SimilarSettings) -> DataFrame:
    """`embeddings` with `rule_slot` (bigint: equal for items that take one place), `rule_eligible`, and `rule_levels`.

    `rule_levels` is an array of bigint: a code for the value of group_by, and of each column of group_fallback.
    """
    return embeddings.select("*", *_columns(similar))


def _columns(similar: config.SimilarSettings) -> list[Column]:
    eligible = F.col(config.ELIGIBLE) if similar.eligible else F.lit(True)
    groups = [similar.group_by, *similar.group_fallback]
    return [
        _slot(similar.variant_of).alias("rule_slot"),
        eligible.alias("rule_eligible"),
        F.array(*(_code("group", schemas.group(name)) for name in groups)).alias("rule_levels"),
    ]


def _slot(variant_of: str | None) -> Column:
    """A code for the variant, and one of its own for an item without any."""
    own = _code("item", F.col("item_id"))
    if variant_of is None:
        return own
    value = F.col(f"`{variant_of}`").cast("string")
    return F.when(value.isNull(), own).otherwise(_code("variant", value))


def _code(kind: str, value: Column) -> Column:
    """64 bits: of a million values two share a code with a chance of 3 in a hundred million."""
    return F.xxhash64(F.lit(kind), value)
