"""The index of a table of embeddings, as a run without a previous release builds it."""

from __future__ import annotations

from pyspark.sql import DataFrame

from lookalike import config
from lookalike.index.layout import IndexLayout
from lookalike.index.step import BuiltIndex, build_index, plan_index
from lookalike.neighbours.step import with_search_columns
from lookalike.warehouse.release import Staged


def build(embeddings: DataFrame, settings: config.Settings, staged: Staged) -> BuiltIndex:
    """Build it in the folders of the release in the making."""
    items = with_search_columns(embeddings, settings.similar, None)
    return build_index(items, plan_index(embeddings, settings), IndexLayout(staged.index, staged.work), settings)
