"""The settings of a run: one frozen object, with every key's type, default, limits and description.

Field names are the configuration keys. `config_file` reads them from YAML; `config_reference` writes their reference
from the descriptions below. Past this module values are typed and need no checking.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lookalike.redaction import has_secret


def _split_commas(value: object) -> object:
    """Read `--set catalogue.keep_columns=category,colour` as the YAML list of the two."""
    if value is None:  # `--set catalogue.keep_columns=`
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


# The column of the embeddings table that says whether an item may be recommended; it needs `similar.eligible`.
ELIGIBLE = "eligible"


def _sound(value: str) -> str:
    """Refuse what no path can hold, and a secret: the settings are kept in every release.json."""
    if "\0" in value:
        raise ValueError("holds a NUL character, which no path can")
    if has_secret(value):
        raise ValueError("holds a password or a signed query; credentials belong in the environment")
    return value


PathOrUri = Annotated[str, AfterValidator(_sound)]
PathsOrUris = Annotated[tuple[PathOrUri, ...], BeforeValidator(_split_commas)]
Columns = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
Share = Annotated[float, Field(ge=0, le=1)]


def _not_partition(plan: object) -> object:
    """Say what the value of version 0.1.0 is called now."""
    if plan == "partition":
        raise ValueError("'partition' is called 'ivf' now")
    return plan


class SettingsSection(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class CatalogueSettings(SettingsSection):
    """Where the items are, and what their columns mean."""

    path: PathOrUri = Field(
        min_length=1,
        description="Parquet file or folder of them, local or in a store; or the name of a table.",
        examples=["/data/catalogue/products.parquet"],
    )
    item_id_column: str = Field("item_id", description="Column that names an item; strings or integers, one row each.")
    image_path_column: str = Field(
        "image_path", description="Column with the picture: a path, or a URI (file, s3, gs, abfs, hdfs, http, https)."
    )
    image_root: PathOrUri = Field(
        "", description="Path or URI put before relative picture paths.", examples=["/data/catalogue/pictures"]
    )
    keep_columns: Columns = Field((), description="Columns to carry into embeddings, such as [category, colour].")
    change_detection: Literal["stat", "column", "content"] = Field(
        "stat", description="What tells a changed picture: stat (size and time), column, or content (reads all files)."
    )
    fingerprint_column: str | None = Field(
        None,
        min_length=1,
        description="For change_detection column: the one that changes with the picture, such as an ETag.",
    )

    @model_validator(mode="after")
    def _column_is_named(self) -> CatalogueSettings:
        if (self.change_detection == "column") != (self.fingerprint_column is not None):
            raise ValueError("change_detection 'column' and fingerprint_column go together; set both or neither")
        return self


class WarehouseSettings(SettingsSection):
    """Where the releases live."""

    path: PathOrUri = Field(
        min_length=1,
        description="Folder of the releases, seen by every worker; or a prefix of a store: s3://, gs://, abfs://.",
        examples=["/data/lookalike"],
    )
    cache: PathOrUri | None = Field(
        None,
        min_length=1,
        description="For a path in a store: folder of each machine for its copies; null: ~/.cache/lookalike.",
    )
    cache_bytes: int = Field(
        100 << 30,
        ge=1 << 20,
        description="Bytes of these copies on a machine (100 GiB), above which those unused for longest go.",
    )
    lock_ttl: float = Field(
        300,
        gt=0,
        le=604_800,
        description="Seconds that a lock of another machine is watched for a sign of life before it is taken.",
    )
    grace: float = Field(
        86_400,
        ge=0,
        le=315_360_000,  # ten years; further back than the calendar goes is an error of Python's
        description="Seconds that `releases clean` spares a release after it was current, for its readers.",
    )


class ModelSettings(SettingsSection):
    """Which network makes the embeddings, and how it is compiled."""

    weights: PathOrUri = Field(
        "imagenet", description="imagenet (Keras downloads it once), bundled, or the path or URI of a Keras .h5 file."
    )
    weights_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the weights file, checked before the file is used."
    )
    precision: Literal["int8", "float32"] = Field(
        "int8", description="int8 is about 3.5 times as fast as float32, and is checked against it before use."
    )
    engine: Literal["auto", "litert", "openvino"] = Field(
        "auto",
        description="What runs the network; auto measures both when the model is compiled, and keeps the faster.",
    )
    input_size: int | None = Field(
        None, ge=32, le=1024, description="Side of the input in pixels; null: 224, or 112 for the bundled weights."
    )
    calibration_pictures: int = Field(
        128, ge=8, le=2048, description="Pictures of the catalogue that set the ranges of the int8 numbers."
    )
    fidelity_pictures: int = Field(
        256, ge=16, le=2048, description="Other pictures, on which int8 is compared with float32."
    )
    min_fidelity: float = Field(
        0.99, ge=-1, le=1, description="Least mean cosine of int8 to float32; below it the run stops."
    )
    seed: int = Field(7, ge=0, lt=1 << 31, description="Seed that draws both sets of pictures.")

    @model_validator(mode="after")
    def _digest_is_of_a_file(self) -> ModelSettings:
        if self.weights == "imagenet" and self.weights_sha256:
            raise ValueError("weights_sha256 is for a file; Keras checks its own download")
        return self


class ImageSettings(SettingsSection):
    """How pictures are read and decoded, and the limits on both."""

    max_bytes: int = Field(64 << 20, ge=1, description="Largest file in bytes (64 MiB); a larger one is a failure.")
    max_pixels: int = Field(50_000_000, ge=1, description="Largest picture in pixels; a larger one is a failure.")
    max_decoded_bytes: int = Field(
        192 << 20,
        ge=1,
        description="Most memory to decode a picture in bytes (192 MiB); one that needs more is a failure.",
    )
    accept_truncated: bool = Field(False, description="Whether to embed the part that is there of a picture cut short.")
    # Precision at 10 of 6,000 photos of fashion, bundled weights, for pad, stretch and crop: with the margins cut off,
    # so that shapes differ, category 0.750, 0.690, 0.640; gender 0.831, 0.803, 0.764; colour 0.506, 0.518, 0.522. As
    # they are, all square, the three are one.
    resize: Literal["stretch", "pad", "crop"] = Field(
        "pad", description="How a picture becomes square: pad with background, stretch (as Keras does), or crop."
    )
    background: str = Field(
        "#ffffff", pattern=r"^#[0-9a-fA-F]{6}$", description="Colour under transparent pixels and around padded ones."
    )
    decode_timeout: float = Field(60, gt=0, le=3600, description="Seconds after which decoding a picture is stopped.")
    # From an S3 server on the loopback, int8 at 112 px: 142 pictures/s with 4, 177 with 8, 171 with 16; from files 184.
    fetch_threads: int = Field(
        8, ge=1, le=64, description="Threads of a worker that read pictures in advance; more for a slow store."
    )
    connect_timeout: float = Field(10, gt=0, le=3600, description="Seconds to connect to a host or store.")
    read_timeout: float = Field(
        60, gt=0, le=3600, description="Seconds of one try to read a picture, connecting included."
    )
    retries: int = Field(
        2,
        ge=0,
        le=20,
        description="Further tries after a time-out or a server error, with growing pauses; a store's errors get more.",
    )
    allowed_roots: PathsOrUris = Field(
        (), description="Prefixes that pictures must lie below, such as s3://bucket/photos; []: anywhere."
    )
    allow_private_addresses: bool = Field(
        False, description="Whether http pictures may come from private, loopback and link-local addresses."
    )

    REFUSAL_LIMITS: ClassVar[tuple[str, ...]] = (
        "max_bytes",
        "max_pixels",
        "max_decoded_bytes",
        "accept_truncated",
        "decode_timeout",
        "allowed_roots",
        "allow_private_addresses",
    )

    def refusal_limits(self) -> dict[str, Any]:
        """Return the settings that decide whether a picture is refused, as release.json has them."""
        return self.model_dump(mode="json", include=set(self.REFUSAL_LIMITS))


class StoreSettings(SettingsSection):
    """Object stores that are not a cloud's own; credentials come from the environment or the platform only."""

    s3_endpoint: PathOrUri | None = Field(
        None, min_length=1, description="URL of an S3 server that is not Amazon's, such as http://minio:9000."
    )
    s3_region: str | None = Field(None, min_length=1, description="Region of the buckets; null: looked up.")
    s3_anonymous: bool = Field(False, description="Read public S3 buckets, without credentials.")
    gs_endpoint: PathOrUri | None = Field(
        None, min_length=1, description="URL of a Google Cloud Storage server that is not Google's."
    )
    gs_anonymous: bool = Field(False, description="Read public Google buckets, without credentials.")
    azure_endpoint: PathOrUri | None = Field(
        None, min_length=1, description="URL of an Azure Blob server that is not Azure's, such as http://azurite:10000."
    )
    azure_accounts: Columns = Field(
        (), description="Azure accounts that pictures may come from, beyond those of paths and roots in these settings."
    )
    hdfs_name_nodes: Columns = Field(
        (), description="HDFS name nodes, host:port, that pictures may come from, beyond those of paths and roots here."
    )

    def refusal_limits(self) -> dict[str, Any]:
        """Return the settings that decide whether a picture is refused, as release.json has them."""
        return self.model_dump(mode="json", include={"azure_endpoint", "azure_accounts", "hdfs_name_nodes"})


class EmbedSettings(SettingsSection):
    """The embed step."""

    commit_every: int = Field(
        512,
        ge=1,
        description="Pictures of a task, kept in a checkpoint when it ends; a stopped run loses its running tasks.",
    )


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


class PublishSettings(SettingsSection):
    """The SQL views over the current release."""

    # A database of the session's catalog; Hive's metastore keeps no capitals.
    catalog: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]{0,127}$",
        description="Database for the views, such as lookalike; null: no views, no metastore.",
    )


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

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Columns carried into the embeddings table: the named ones, and those that decide on neighbours."""
        eligible = (ELIGIBLE,) if self.similar.eligible else ()
        return tuple(dict.fromkeys(self.catalogue.keep_columns + self.similar.columns + eligible))


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
