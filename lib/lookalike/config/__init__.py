"""The settings of a run: one frozen object, with every key's type, default, limits and description.

Field names are the configuration keys. `config_file` reads them from YAML; `config_reference` writes their reference
from the descriptions in these modules. Past this package values are typed and need no checking.

Everyone says `config.Settings`, whichever module holds the section: this is the one package with a door.
"""

from lookalike.config.neighbours import IndexSettings, SimilarSettings
from lookalike.config.pictures import EmbedSettings, ImageSettings, ModelSettings
from lookalike.config.places import CatalogueSettings, StoreSettings, WarehouseSettings
from lookalike.config.publish import PublishSettings
from lookalike.config.release import GateSettings, ReportSettings
from lookalike.config.settings import Settings, known_keys, sections, value_types
from lookalike.config.values import ELIGIBLE, SettingsSection

__all__ = [
    "ELIGIBLE",
    "CatalogueSettings",
    "EmbedSettings",
    "GateSettings",
    "ImageSettings",
    "IndexSettings",
    "ModelSettings",
    "PublishSettings",
    "ReportSettings",
    "Settings",
    "SettingsSection",
    "SimilarSettings",
    "StoreSettings",
    "WarehouseSettings",
    "known_keys",
    "sections",
    "value_types",
]
