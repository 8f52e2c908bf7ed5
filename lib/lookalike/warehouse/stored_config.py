"""The settings of a run as its release.json keeps them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from lookalike.config import Settings


class StoredSection(BaseModel):
    """A section of the settings as they were stored: keys that a reader asks for have a type, all others are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class StoredCatalogue(StoredSection):
    """The section `catalogue`."""

    path: str = ""
    item_id_column: str = "item_id"
    image_path_column: str = "image_path"
    image_root: str | None = None
    keep_columns: tuple[str, ...] = ()


class StoredImages(StoredSection):
    """The section `images`."""

    max_bytes: int | None = None


class StoredSimilar(StoredSection):
    """The section `similar`."""

    k: int = 20
    spare: int = 0
    group_by: str | None = None
    group_fallback: tuple[str, ...] = ()
    eligible: str | None = None
    variant_of: str | None = None
    duplicate_cosine: float | None = None
    min_score: float | None = None


class StoredConfig(BaseModel):
    """The settings that a release was made with, as its version of lookalike stored them.

    Not config.Settings: an older version lacks keys that came later, and may hold keys and values that are gone.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    catalogue: StoredCatalogue = StoredCatalogue()
    images: StoredImages = StoredImages()
    similar: StoredSimilar = StoredSimilar()

    @classmethod
    def of(cls, settings: Settings) -> StoredConfig:
        """Return the settings of a run in the form in which they are stored."""
        return cls.model_validate(settings.model_dump(mode="json"))

    def as_stored(self) -> dict[str, Any]:
        """Return the sections with just the keys that were stored."""
        return self.model_dump(mode="json", exclude_unset=True)

    def same(self, settings: Settings, *sections: str) -> bool:
        """Return whether these sections were stored with every value that `settings` has."""
        then, now = self.as_stored(), settings.model_dump(mode="json")
        return all(then.get(name) == now[name] for name in sections)
