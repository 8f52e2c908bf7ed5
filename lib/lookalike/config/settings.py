"""All settings of a run, and what their keys are."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import model_validator

from lookalike.config.neighbours import IndexSettings, SimilarSettings
from lookalike.config.pictures import EmbedSettings, ImageSettings, ModelSettings
from lookalike.config.places import CatalogueSettings, StoreSettings, WarehouseSettings
from lookalike.config.publish import PublishSettings
from lookalike.config.release import GateSettings, ReportSettings
from lookalike.config.values import ELIGIBLE, SettingsSection


class Settings(SettingsSection):
    """All settings of a run."""

    catalogue: CatalogueSettings
    warehouse: WarehouseSettings
    model: ModelSettings = ModelSettings()
    images: ImageSettings = ImageSettings()
    stores: StoreSettings = StoreSettings()
    embed: EmbedSettings = EmbedSettings()
    index: IndexSettings = IndexSettings()
    similar: SimilarSettings = SimilarSettings()
    gates: GateSettings = GateSettings()
    report: ReportSettings = ReportSettings()
    publish: PublishSettings = PublishSettings()

    @model_validator(mode="after")
    def _eligible_is_free(self) -> Settings:
        named = {name.lower() for name in self.catalogue.keep_columns + self.similar.columns}
        if self.similar.eligible and ELIGIBLE in named:
            raise ValueError(f"similar.eligible makes a column '{ELIGIBLE}'; leave a catalogue column of that name out")
        return self

    @model_validator(mode="after")
    def _labels_are_kept(self) -> Settings:
        for name in self.report.labels or ():
            if name not in self.kept_columns:
                raise ValueError(f"report.labels names '{name}', which is not kept; add it to catalogue.keep_columns")
        return self

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Columns carried into the embeddings table: the named ones, and those that decide on neighbours."""
        eligible = (ELIGIBLE,) if self.similar.eligible else ()
        return tuple(dict.fromkeys(self.catalogue.keep_columns + self.similar.columns + eligible))

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of which the page tells how often neighbours share the value."""
        named = self.catalogue.keep_columns if self.report.labels is None else self.report.labels
        return tuple(dict.fromkeys(named))


def sections() -> dict[str, type[SettingsSection]]:
    """Return the type of each section by its key, in the order of the file."""
    types = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: one for name, one in types.items() if isinstance(one, type) and issubclass(one, SettingsSection)}


def known_keys() -> Iterator[str]:
    """Yield every key, dotted."""
    for name, section in sections().items():
        yield name
        yield from (f"{name}.{key}" for key in section.model_fields)


def value_types(key: str) -> tuple[str, ...]:
    """Return the JSON types that the value of a dotted key may have; () for a section or an unknown key."""
    section, _, name = key.partition(".")
    found = sections().get(section)
    if found is None or name not in found.model_fields:
        return ()
    schema = found.model_json_schema()["properties"][name]
    return tuple(one["type"] for one in schema.get("anyOf", [schema]))
