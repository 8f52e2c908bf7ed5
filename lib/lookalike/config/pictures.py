"""Sections about the way from pictures to embeddings: the network, the pictures, the step."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from lookalike.config.values import PathOrUri, PathsOrUris, SettingsSection


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


class EmbedSettings(SettingsSection):
    """The embed step."""

    commit_every: int = Field(
        512,
        ge=1,
        description="Pictures of a task, kept in a checkpoint when it ends; a stopped run loses its running tasks.",
    )
