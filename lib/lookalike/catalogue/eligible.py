"""The column `eligible`: the predicate `similar.eligible` over the catalogue, and the checks of it."""

from __future__ import annotations

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType

from lookalike import config
from lookalike.errors import CatalogueError, raised_in_worker
from lookalike.spark.parquet import condition


def eligible_column(frame: DataFrame, predicate: str) -> Column:
    """Return the column `eligible` of a row of the catalogue; where the predicate is null, the item is not eligible.

    Raises CatalogueError.
    """
    check_predicate(frame, predicate)
    return F.coalesce(F.expr(predicate), F.lit(False)).alias(config.ELIGIBLE)


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


def check_values(items: DataFrame, predicate: str) -> None:
    """Evaluate the predicate on every row: a division by zero would otherwise end a later step."""
    try:
        items.agg(F.count_if(F.col(config.ELIGIBLE))).first()
    except (PySparkException, Py4JJavaError) as error:
        raise raised_in_worker(str(error)) or CatalogueError(
            f"similar.eligible: '{' '.join(predicate.split())}' fails on a row of the catalogue ({condition(error)}); "
            "guard it, for example with try_cast or try_divide"
        ) from None
