"""One frozen settings object, read from YAML once and validated; unknown keys are refused.

Field names are the configuration keys. Past this module values are typed and need no checking.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lookalike.errors import ConfigError
from lookalike.redaction import has_secret


def _split_commas(value: object) -> object:
    """`--set catalogue.keep_columns=category,colour` means what the YAML list means."""
    if value is None:  # `--set catalogue.keep_columns=`
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


# The column of the embeddings table that says whether an item may be recommended; there when `similar.eligible` is set.
ELIGIBLE = "eligible"


def _without_secret(value: str) -> str:
    """The settings are kept in every release.json."""
    if has_secret(value):
        raise ValueError("holds a password or a signed query; credentials belong in the environment")
    return value


Location = Annotated[str, AfterValidator(_without_secret)]
Locations = Annotated[tuple[Location, ...], BeforeValidator(_split_commas)]
Columns = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Catalogue(Section):
    """Where the items are and which columns mean what."""

    path: Location = Field(min_length=1)
    item_id_column: str = "item_id"
    image_path_column: str = "image_path"
    image_root: Location = ""
    keep_columns: Columns = ()
    change_detection: Literal["stat", "column", "content"] = "stat"
    fingerprint_column: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _column_is_named(self) -> Catalogue:
        if (self.change_detection == "column") != (self.fingerprint_column is not None):
            raise ValueError("change_detection 'column' and fingerprint_column go together; set both or neither")
        return self


class Warehouse(Section):
    """Where the releases live."""

    path: Location = Field(min_length=1)
    mirror: str | None = Field(default=None, min_length=1)
    lock_ttl: float = Field(default=300, gt=0)  # seconds
    grace: float = Field(default=86_400, ge=0)  # seconds


class Model(Section):
    """Which weights, compiled how."""

    weights: Location = "imagenet"
    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    precision: Literal["int8", "float32"] = "int8"
    engine: Literal["litert", "openvino"] = "litert"
    input_size: int | None = Field(default=None, ge=32, le=1024)
    calibration_pictures: int = Field(default=128, ge=8, le=2048)
    fidelity_pictures: int = Field(default=256, ge=16, le=2048)
    min_fidelity: float = Field(default=0.99, ge=-1, le=1)
    seed: int = Field(default=7, ge=0, lt=1 << 31)

    @model_validator(mode="after")
    def _digest_is_of_a_file(self) -> Model:
        if self.weights == "imagenet" and self.weights_sha256:
            raise ValueError("weights_sha256 is for a file; Keras checks its own download")
        return self

    @property
    def size(self) -> int:
        """Side of the square input in pixels: Keras's 224, or the 112 the bundled weights were made for."""
        return self.input_size or (112 if self.weights == "bundled" else 224)


class Images(Section):
    """How pictures are read and decoded, and the limits on both."""

    max_bytes: int = Field(default=64 << 20, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_decoded_bytes: int = Field(default=192 << 20, ge=1)
    accept_truncated: bool = False
    # Precision at 10 of 6,000 photos of fashion, bundled weights, for pad, stretch and crop: with the margins cut off,
    # so that shapes differ, category 0.750, 0.690, 0.640; gender 0.831, 0.803, 0.764; colour 0.506, 0.518, 0.522. As
    # they are, all square, the three are one.
    resize: Literal["stretch", "pad", "crop"] = "pad"
    background: str = Field(default="#ffffff", pattern=r"^#[0-9a-fA-F]{6}$")
    decode_timeout: float = Field(default=60, gt=0, le=3600)  # seconds
    # From an S3 server on the loopback, int8 at 112 px: 142 pictures/s with 4, 177 with 8, 171 with 16; from files 184.
    fetch_threads: int = Field(default=8, ge=1, le=64)
    connect_timeout: float = Field(default=10, gt=0, le=3600)  # seconds
    read_timeout: float = Field(default=60, gt=0, le=3600)  # seconds, for all of a picture
    retries: int = Field(default=2, ge=0, le=20)
    allowed_roots: Locations = ()
    allow_private_addresses: bool = False

    # The settings that decide whether a picture is refused.
    VERDICT: ClassVar[tuple[str, ...]] = (
        "max_bytes",
        "max_pixels",
        "max_decoded_bytes",
        "accept_truncated",
        "decode_timeout",
        "allowed_roots",
        "allow_private_addresses",
    )

    def verdict(self) -> dict[str, Any]:
        """Those settings, as release.json has them."""
        return self.model_dump(mode="json", include=set(self.VERDICT))


class Stores(Section):
    """Object stores other than the clouds' own; credentials come from the environment or the platform only."""

    s3_endpoint: Location | None = Field(default=None, min_length=1)
    s3_region: str | None = Field(default=None, min_length=1)
    s3_anonymous: bool = False
    gs_endpoint: Location | None = Field(default=None, min_length=1)
    gs_anonymous: bool = False
    azure_endpoint: Location | None = Field(default=None, min_length=1)


class Embed(Section):
    """The embed step."""

    commit_every: int = Field(default=20_000, ge=1)


class Index(Section):
    """The Annoy shards."""

    trees: int = Field(default=50, ge=1, le=10_000)
    seed: int = Field(default=42, ge=0, lt=1 << 31)
    shard_items: int = Field(default=16_384, ge=1, le=65_536)


class Similar(Section):
    """The similar-items table."""

    k: int = Field(default=20, ge=1, le=1000)
    spare: int = Field(default=0, ge=0, le=1000)
    group_by: str | None = Field(default=None, min_length=1)
    group_fallback: Columns = ()
    eligible: str | None = Field(default=None, min_length=1)
    variant_of: str | None = Field(default=None, min_length=1)
    duplicate_cosine: float | None = Field(default=None, gt=0, le=1)
    min_score: float | None = Field(default=None, ge=-1, le=1)
    recall_floor: Share = 0.99
    recall_sample: int = Field(default=256, ge=1, le=4096)
    plan: Literal["auto", "exact", "partition", "annoy"] = "auto"
    task_memory: int = Field(default=512 << 20, ge=64 << 20)  # bytes
    full_every: int = Field(default=30, ge=1)

    @property
    def wanted(self) -> int:
        """Neighbours an item has in the table."""
        return self.k + self.spare

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the catalogue whose values decide who may be a neighbour, the narrowest group first."""
        named = (self.group_by, *self.group_fallback, self.variant_of)
        return tuple(dict.fromkeys(name for name in named if name))

    @model_validator(mode="after")
    def _fallback_has_a_group(self) -> Similar:
        if self.group_fallback and not self.group_by:
            raise ValueError("group_fallback widens group_by; set group_by to the narrowest column")
        return self


class Gates(Section):
    """What a release must pass before it is published."""

    max_failed_share: Share = 0.05
    max_items_lost: Share = 0.5
    max_unusable_vectors: Share = 0.0
    max_duplicate_vectors: Share = 0.5
    max_neighbour_churn: Share = 0.0
    max_hub: float = Field(default=50, ge=1)


class Report(Section):
    """The page in each release."""

    enabled: bool = True


class Publish(Section):
    """The SQL views over the current release."""

    # A database of the session's catalog; Hive's metastore keeps no capitals.
    catalog: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,127}$")


class Settings(Section):
    """All settings of a run."""

    catalogue: Catalogue
    warehouse: Warehouse
    model: Model = Model()
    images: Images = Images()
    stores: Stores = Stores()
    embed: Embed = Embed()
    index: Index = Index()
    similar: Similar = Similar()
    gates: Gates = Gates()
    report: Report = Report()
    publish: Publish = Publish()

    @model_validator(mode="after")
    def _eligible_is_free(self) -> Settings:
        named = {name.lower() for name in self.catalogue.keep_columns + self.similar.columns}
        if self.similar.eligible and ELIGIBLE in named:
            raise ValueError(f"similar.eligible makes a column '{ELIGIBLE}'; leave a catalogue column of that name out")
        return self

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Columns carried into the embeddings table: the named ones, and those by which neighbours are chosen."""
        eligible = (ELIGIBLE,) if self.similar.eligible else ()
        return tuple(dict.fromkeys(self.catalogue.keep_columns + self.similar.columns + eligible))


def load(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Settings from a YAML file, with `key=value` overrides (values are YAML); raises ConfigError."""
    raw = _read_yaml(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {override}: write it as --set section.key=value")
        try:
            value = yaml.safe_load(text)
        except _NOT_YAML:
            raise ConfigError(f"--set {override}: the value is not YAML; quote it") from None
        _assign(raw, key.strip(), value)
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None


class _Loader(yaml.SafeLoader):
    """The safe loader takes the last of two equal keys without a word; a second `similar:` hides the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As the base class does, but a repeated key is an error."""
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"key '{key}' occurs twice, again at or before line {node.end_mark.line + 1}")
        return super().construct_mapping(node, deep)


# The safe loader lets a date that does not exist, or brackets 3,000 deep, through as these.
_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give --config a YAML file") from None
    except _NOT_YAML as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not YAML: {reason}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections such as 'catalogue:', found {type(raw).__name__}")
    return {key: _set_keys(section) for key, section in raw.items()}


def _set_keys(section: object) -> object:
    """A key left blank means its default, and a section of nothing but comments all of them."""
    if section is None:
        return {}
    return {key: value for key, value in section.items() if value is not None} if isinstance(section, dict) else section


def _assign(raw: dict[str, Any], key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"--set {key}: '{section}' is a value, not a section")
    raw[name] = value


def _explain(error: ValidationError) -> str:
    """One line for the first thing wrong, with the nearest right key for a wrong one."""
    errors = error.errors()
    # A misspelt key is often also a missing one: the spelling is what to mend.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = " ".join(".".join(str(part) for part in first["loc"]).split())
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(known_keys()), n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known sections: {_sections()}"
        return f"unknown key '{key}'{hint}"
    if first["type"] == "missing":
        return f"'{key}' is missing; set it in the file or with --set {key}=…"
    if first["type"] == "value_error":  # raised above, by a section that names the keys itself
        return f"{key}: {first['ctx']['error']}"
    return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]} (got {first['input']!r})"


def known_keys() -> Iterator[str]:
    """Every key, dotted."""
    for section, field in Settings.model_fields.items():
        yield section
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from (f"{section}.{name}" for name in field.annotation.model_fields)


def _sections() -> str:
    return ", ".join(Settings.model_fields)
