"""What the sections of the settings are made of: their base, and the types of values."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lookalike.redaction import has_secret

# The column of the embeddings table that says whether an item may be recommended; it needs `similar.eligible`.
ELIGIBLE = "eligible"


class SettingsSection(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def sound_text(value: str) -> str:
    """Refuse what no path can hold, and a secret: the settings are kept in every release.json."""
    if "\0" in value:
        raise ValueError("holds a NUL character, which no path can")
    if has_secret(value):
        raise ValueError("holds a password or a signed query; credentials belong in the environment")
    return value


def _split_commas(value: object) -> object:
    """Read `--set catalogue.keep_columns=category,colour` as the YAML list of the two."""
    if value is None:  # `--set catalogue.keep_columns=`
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def _as_texts(value: object) -> object:
    """Read ids that are whole numbers in YAML, as they may be in the catalogue, as the texts that tables have."""
    listed = _split_commas(value)
    if not isinstance(listed, tuple):
        return listed
    return tuple(str(one) if type(one) is int else one for one in listed)


PathOrUri = Annotated[str, AfterValidator(sound_text)]
PathsOrUris = Annotated[tuple[PathOrUri, ...], BeforeValidator(_split_commas)]
Columns = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
ItemIds = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]
Share = Annotated[float, Field(ge=0, le=1)]
