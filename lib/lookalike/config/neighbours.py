"""Sections about neighbours: the index, and the similar-items table."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from lookalike.config.values import Columns, SettingsSection, Share


def _not_partition(plan: object) -> object:
    """Say what the value of version 0.1.0 is called now."""
    if plan == "partition":
        raise ValueError("'partition' is called 'ivf' now")
    return plan


class IndexSettings(SettingsSection):
    """The Annoy shards."""

    trees: int = Field(
        50,
        ge=1,
        le=10_000,
        description="Trees of each shard; more find more, in larger files. Up to 2,050 items need one.",
    )
    seed: int = Field(
        42, ge=0, lt=1 << 31, description="Seed of the trees; the same items and seed give the same trees."
    )
    shard_items: int = Field(
        16_384, ge=1, le=65_536, description="About the largest number of items in a shard; it holds whole IVF lists."
    )
    compact_share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="A group's shards are built again when more than this share of it came or left since.",
    )


class SimilarSettings(SettingsSection):
    """The similar-items table."""

    k: int = Field(20, ge=1, le=1000, description="Neighbours of an item.")
    spare: int = Field(0, ge=0, le=1000, description="Neighbours kept beyond k, for readers that drop sold-out items.")
    group_by: str | None = Field(
        None, min_length=1, description="Column with a value that neighbours must share, such as category."
    )
    group_fallback: Columns = Field(
        (), description="Wider columns, in order, that fill up the lists of small groups, such as [department]."
    )
    eligible: str | None = Field(
        None,
        min_length=1,
        description="SQL predicate of the items that may be recommended, such as: in_stock AND NOT adult.",
    )
    variant_of: str | None = Field(
        None,
        min_length=1,
        description="Column that names the product of a variant; variants share one place in a list.",
    )
    duplicate_cosine: float | None = Field(
        None, gt=0, le=1, description="Least cosine of duplicates, which take one place in a list, such as 0.99."
    )
    min_score: float | None = Field(None, ge=-1, le=1, description="Least cosine of a neighbour, such as 0.5.")
    recall_floor: Share = Field(
        0.99, description="A gate: least share of true neighbours found, with 95 % confidence; chooses the plan."
    )
    recall_sample: int = Field(256, ge=1, le=4096, description="Least number of items compared with brute force.")
    plan: Annotated[Literal["auto", "exact", "ivf", "annoy"], BeforeValidator(_not_partition)] = Field(
        "auto",
        description="Search of neighbours: exact, ivf, annoy, or auto, the cheapest that reaches recall_floor.",
    )
    task_memory: int = Field(
        512 << 20,
        ge=64 << 20,
        description="Bytes that a task of the search may hold; 512 MiB are enough for a group of 2 million items.",
    )
    full_every: int = Field(
        30, ge=1, description="Number of releases after which all lists are recomputed, those of unchanged items too."
    )

    @property
    def wanted(self) -> int:
        """Number of neighbours of an item in the table."""
        return self.k + self.spare

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the catalogue with values that decide which items may be neighbours; the narrowest group first."""
        named = (self.group_by, *self.group_fallback, self.variant_of)
        return tuple(dict.fromkeys(name for name in named if name))

    @model_validator(mode="after")
    def _fallback_has_a_group(self) -> SimilarSettings:
        if self.group_fallback and not self.group_by:
            raise ValueError("group_fallback widens group_by; set group_by to the narrowest column")
        return self
