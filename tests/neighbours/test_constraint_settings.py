"""The settings of the constraints of neighbours: read as they are meant, or refused with one line that helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lookalike import config, config_file
from lookalike.errors import ConfigError, LookalikeError
from support import settings_file

MINIMAL = "catalogue: {path: items.parquet}\nwarehouse: {path: out}\n"
Build = Callable[..., config.Settings]


def load(tmp_path: Path, *overrides: str) -> config.Settings:
    """Settings of the shortest file there is, with overrides."""
    path = tmp_path / "conf.yaml"
    path.write_text(MINIMAL)
    return config_file.load(path, overrides)


def line(error: LookalikeError) -> str:
    """What the user reads."""
    text = str(error)
    assert len(text.splitlines()) == 1
    assert len(text) < 500
    assert not any(word in text for word in ("JVM", "Traceback", "SQLSTATE", "org.apache"))
    assert error.exit_code == 2
    return text


def complaint(tmp_path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, *overrides)
    return line(refused.value)


# ---- the file


def test_no_constraint_is_set_by_default(tmp_path: Path) -> None:
    similar = load(tmp_path).similar
    assert (similar.spare, similar.group_fallback, similar.plan) == (0, (), "auto")
    assert (similar.eligible, similar.variant_of, similar.duplicate_cosine, similar.min_score) == (None,) * 4
    assert load(tmp_path).kept_columns == ()


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("group_fallback: 3", ("similar.group_fallback", "3")),
        ("group_fallback: [dept, 1]", ("similar.group_fallback.1", "string", "1")),
        ("eligible: true", ("similar.eligible", "string", "True")),
        ("eligible: ''", ("similar.eligible", "at least 1 character")),
        ("variant_of: ''", ("similar.variant_of", "at least 1 character")),
        ("variant_of: [a]", ("similar.variant_of", "string", "['a']")),
    ],
)
def test_value_of_a_wrong_type_in_the_file_is_one_line_with_the_key(
    tmp_path: Path, key: str, parts: tuple[str, ...]
) -> None:
    message = settings_file.complaint(tmp_path, f"{MINIMAL}similar: {{{key}}}\n")
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("similar.spare=-1", ("similar.spare", "greater than or equal to 0", "-1")),
        ("similar.spare=1.5", ("similar.spare", "integer", "1.5")),
        ("similar.duplicate_cosine=1.01", ("similar.duplicate_cosine", "less than or equal to 1", "1.01")),
        ("similar.duplicate_cosine=.nan", ("similar.duplicate_cosine", "nan")),
        ("similar.duplicate_cosine=yes", ("similar.duplicate_cosine", "number", "True")),
        ("similar.min_score=-1.01", ("similar.min_score", "greater than or equal to -1", "-1.01")),
        ("similar.min_score=2", ("similar.min_score", "less than or equal to 1", "2")),
        ("similar.min_score=.nan", ("similar.min_score", "nan")),
        ("similar.plan=fast", ("similar.plan", "'auto', 'exact', 'ivf' or 'annoy'", "'fast'")),
        ("similar.task_memory=0", ("similar.task_memory", "greater than or equal to", "0")),
        ("similar.task_memory=512m", ("similar.task_memory", "integer", "'512m'")),
        ("similar.full_every=0", ("similar.full_every", "greater than or equal to 1", "0")),
        ("similar.group_fallbacks=[a]", ("unknown key", "did you mean 'similar.group_fallback'?")),
        ("similar.variants_of=a", ("unknown key", "did you mean 'similar.variant_of'?")),
    ],
)
def test_wrong_value_is_one_line_with_the_key_and_the_value(
    tmp_path: Path, override: str, parts: tuple[str, ...]
) -> None:
    text = complaint(tmp_path, override)
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize("value", ["-1", "0", "1", "0.25", "-0.5"])
def test_whole_numbers_and_negative_ones_are_scores(tmp_path: Path, value: str) -> None:
    assert load(tmp_path, f"similar.min_score={value}").similar.min_score == float(value)


def test_fallback_levels_need_a_group_by(tmp_path: Path) -> None:
    text = complaint(tmp_path, "similar.group_fallback=dept,brand")
    assert "group_fallback" in text
    assert "group_by" in text
    assert load(tmp_path, "similar.group_fallback=").similar.group_fallback == ()
    wide = load(tmp_path, "similar.group_by=kind", "similar.group_fallback=dept, brand").similar
    assert wide.group_fallback == ("dept", "brand")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["similar.variant_of=product"], ["product"]),
        (["similar.group_by=kind", "similar.group_fallback=dept,brand"], ["brand", "dept", "kind"]),
        (["similar.eligible=stock > 0"], ["eligible"]),
        (["similar.group_by=kind", "similar.variant_of=kind", "catalogue.keep_columns=kind"], ["kind"]),
        (["similar.variant_of=product", "catalogue.keep_columns=product,price"], ["price", "product"]),
    ],
)
def test_columns_of_the_constraints_are_kept_with_the_embeddings(
    tmp_path: Path, overrides: list[str], expected: list[str]
) -> None:
    assert sorted(load(tmp_path, *overrides).kept_columns) == expected


def test_column_named_eligible_cannot_be_kept_with_the_one_that_is_made(tmp_path: Path) -> None:
    assert load(tmp_path, "catalogue.keep_columns=eligible").kept_columns == ("eligible",)
    for column in ("eligible", "Eligible"):  # Spark's names are case-insensitive
        for key in ("catalogue.keep_columns", "similar.group_by", "similar.variant_of"):
            text = complaint(tmp_path, f"{key}={column}", "similar.eligible=stock > 0")
            assert "eligible" in text


# ---- the catalogue


# ---- the job
