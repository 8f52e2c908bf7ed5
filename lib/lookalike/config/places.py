"""Sections about where things are: the catalogue, the warehouse, object stores."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from lookalike.config.values import Columns, PathOrUri, SettingsSection


def _encoding(name: str) -> str:
    """Refuse what is no encoding of text."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError(f"no encoding '{name}'; such are utf-8, cp1252, latin-1, utf-16-le, cp932") from None
    return name.lower()


class CatalogueSettings(SettingsSection):
    """Where the items are, and what their columns mean."""

    path: PathOrUri = Field(
        min_length=1,
        description="Parquet, CSV, JSON Lines, Delta, Iceberg, a folder of pictures, or a table.",
        examples=["/data/catalogue/products.parquet"],
    )
    encoding: Annotated[str, AfterValidator(_encoding)] = Field(
        "utf-8", description="Encoding of CSV without a byte-order mark, such as cp1252, which Excel writes on Windows."
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


class StoreSettings(SettingsSection):
    """Object stores that are not a cloud's own; credentials come from the environment or the platform only."""

    # Public: each default is named, as type checkers of users, without pydantic's plugin, see no other.
    s3_endpoint: PathOrUri | None = Field(
        default=None, min_length=1, description="URL of an S3 server that is not Amazon's, such as http://minio:9000."
    )
    s3_region: str | None = Field(default=None, min_length=1, description="Region of the buckets; null: looked up.")
    s3_anonymous: bool = Field(default=False, description="Read public S3 buckets, without credentials.")
    gs_endpoint: PathOrUri | None = Field(
        default=None, min_length=1, description="URL of a Google Cloud Storage server that is not Google's."
    )
    gs_anonymous: bool = Field(default=False, description="Read public Google buckets, without credentials.")
    azure_endpoint: PathOrUri | None = Field(
        default=None,
        min_length=1,
        description="URL of an Azure Blob server that is not Azure's, such as http://azurite:10000.",
    )
    azure_accounts: Columns = Field(
        default=(),
        description="Azure accounts that pictures may come from, beyond those of paths and roots in these settings.",
    )
    hdfs_name_nodes: Columns = Field(
        default=(),
        description="HDFS name nodes, host:port, that pictures may come from, beyond those of paths and roots here.",
    )

    def refusal_limits(self) -> dict[str, Any]:
        """Return the settings that decide whether a picture is refused, as release.json has them."""
        return self.model_dump(mode="json", include={"azure_endpoint", "azure_accounts", "hdfs_name_nodes"})
