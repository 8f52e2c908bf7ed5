"""Sections about a release that is made: its gates, and its page."""

from __future__ import annotations

from pydantic import Field

from lookalike.config.values import Columns, ItemIds, SettingsSection, Share


class GateSettings(SettingsSection):
    """Limits that a release must keep to be published; when one refuses, the current release stays."""

    max_failed_share: Share = Field(0.05, description="Largest share of items without a usable picture.")
    max_items_lost: Share = Field(0.5, description="Largest share of the current release's items that may be gone.")
    max_unusable_vectors: Share = Field(0.0, description="Largest share of embeddings that are zero or not finite.")
    max_duplicate_vectors: Share = Field(0.5, description="Largest share of items with an embedding that others share.")
    # Some items are alone in their group, or min_score leaves them none; where most have none, a setting is wrong.
    max_without_neighbours: Share = Field(0.5, description="Largest share of embedded items without a neighbour.")
    max_short_lists: Share = Field(
        0.0, description="Largest share of sampled items with fewer neighbours than the rules allow, up to similar.k."
    )
    max_neighbour_churn: Share = Field(
        0.0, description="Largest share of items with other neighbours, though nothing they depend on changed."
    )
    max_hub: float = Field(
        50, ge=1, description="Largest number of lists that one item may be in, in units of similar.k."
    )


class ReportSettings(SettingsSection):
    """The page in each release."""

    enabled: bool = Field(True, description="Write the page report.html into the release.")
    title: str = Field("", max_length=200, description="Name of the shop, for the head of the page.")
    items: ItemIds = Field(
        (), max_length=50, description="Ids of items that the page always shows first, with their neighbours."
    )
    labels: Columns | None = Field(
        None, description="Kept columns in which neighbours are compared; null: those of catalogue.keep_columns."
    )
