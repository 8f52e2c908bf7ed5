"""The settings: typed and frozen, and a wrong value is one line with the key and the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lookalike import config, config_file
from lookalike.errors import ConfigError
from support.settings_file import MINIMAL, complaint, load


def test_two_paths_are_enough(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.catalogue.path == "items.parquet"
    assert settings.warehouse.path == "out"
    assert settings == load(tmp_path, MINIMAL + "index: {}\nsimilar: {}\n")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("index.trees=many", ("index.trees", "valid integer", "'many'")),
        ("index.trees=1.5", ("index.trees", "integer", "1.5")),
        ("index.trees=0", ("index.trees", "greater than or equal to 1", "0")),
        ("index.trees=[1]", ("index.trees", "integer", "[1]")),
        ("index.seed=-1", ("index.seed", "greater than or equal to 0", "-1")),
        ("index.seed=2147483648", ("index.seed", "less than 2147483648")),
        ("similar.k=0", ("similar.k", "greater than or equal to 1")),
        ("similar.k=1001", ("similar.k", "less than or equal to 1000")),
        ("similar.k=", ("similar.k", "None")),
        ("similar.recall_floor=1.01", ("similar.recall_floor", "less than or equal to 1")),
        ("similar={group_by: no}", ("similar.group_by", "string", "False")),
        ("gates.max_failed_share=.nan", ("gates.max_failed_share", "nan")),
        ("gates.max_failed_share=.inf", ("gates.max_failed_share", "inf")),
        ("model.precision=int4", ("model.precision", "'int8' or 'float32'", "'int4'")),
        ("model.input_size=31", ("model.input_size", "greater than or equal to 32")),
        ("catalogue.change_detection=hash", ("catalogue.change_detection", "'stat', 'column' or 'content'", "'hash'")),
        ("catalogue={path: a, fingerprint_column: ''}", ("catalogue.fingerprint_column", "at least 1 character")),
        ("warehouse.lock_ttl=0", ("warehouse.lock_ttl", "greater than 0")),
        ("warehouse.lock_ttl=.inf", ("warehouse.lock_ttl", "inf")),
        ("warehouse.grace=.inf", ("warehouse.grace", "inf")),
        ("warehouse.grace=100000000000", ("warehouse.grace", "less than or equal to 315360000")),
        (r'warehouse={path: "a\0b"}', ("warehouse.path", "NUL character")),
        ("similar.plan=partition", ("similar.plan", "'partition' is called 'ivf' now")),
        ("warehouse.grace=-1", ("warehouse.grace", "greater than or equal to 0")),
        ("embed.commit_every=0", ("embed.commit_every", "greater than or equal to 1")),
        ("gates.max_items_lost=1.5", ("gates.max_items_lost", "less than or equal to 1")),
        ("gates.max_hub=0.5", ("gates.max_hub", "greater than or equal to 1")),
        ("report.enabled=maybe", ("report.enabled", "boolean", "'maybe'")),
        ("report={items: [a, 1.5]}", ("report.items.1", "string", "1.5")),
        (f"report.items={','.join(map(str, range(51)))}", ("report.items", "at most 50")),
        (f"report.title={'x' * 201}", ("report.title", "at most 200")),
        ("report.labels=brand", ("report.labels names 'brand', which is not kept; add it to catalogue.keep_columns",)),
        ("catalogue.path=", ("catalogue.path", "at least 1 character")),
        ("catalogue={path: 2024}", ("catalogue.path", "string", "2024")),
        ("catalogue={path: a, keep_columns: 3}", ("catalogue.keep_columns", "3")),
        ("catalogue={path: a, keep_columns: [a, 1]}", ("catalogue.keep_columns.1", "string", "1")),
        ('catalogue={path: a, image_root: ["a\\nb"]}', ("catalogue.image_root", "string")),
        ("index=5", ("index", "expected keys", "5")),
        ("index.trees.deep=3", ("index.trees", "integer")),
    ],
)
def test_wrong_value_is_one_line_with_the_key_and_the_value(
    tmp_path: Path, override: str, parts: tuple[str, ...]
) -> None:
    line = complaint(tmp_path, MINIMAL, override)
    for part in parts:
        assert part in line


def test_items_of_the_page_may_be_numbers_as_in_the_catalogue(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "report: {items: [12, a b, true-1]}\n").report.items == ("12", "a b", "true-1")
    assert load(tmp_path, MINIMAL, "report.items=0012, a").report.items == ("0012", "a")


def test_neighbours_are_compared_by_the_kept_columns_unless_some_are_named(tmp_path: Path) -> None:
    kept = ("catalogue.keep_columns=kind,colour,price", "similar.group_by=brand")
    assert load(tmp_path, MINIMAL, *kept).label_columns == ("kind", "colour", "price")
    assert load(tmp_path, MINIMAL, *kept, "report.labels=colour,brand,colour").label_columns == ("colour", "brand")
    assert load(tmp_path, MINIMAL, *kept, "report.labels=[]").label_columns == ()


@pytest.mark.parametrize("mode", ["stat", "content"])
def test_other_change_detections_need_no_column(tmp_path: Path, mode: str) -> None:
    catalogue = load(tmp_path, MINIMAL, f"catalogue.change_detection={mode}").catalogue
    assert (catalogue.change_detection, catalogue.fingerprint_column) == (mode, None)


def test_change_detection_by_column_names_the_column(tmp_path: Path) -> None:
    overrides = ("catalogue.change_detection=column", "catalogue.fingerprint_column=updated_at")
    assert load(tmp_path, MINIMAL, *overrides).catalogue.fingerprint_column == "updated_at"


@pytest.mark.parametrize(
    "overrides",
    [
        ["catalogue.change_detection=column"],
        ["catalogue.change_detection=column", "catalogue.fingerprint_column=null"],
        ["catalogue.fingerprint_column=updated_at"],
        ["catalogue.fingerprint_column=updated_at", "catalogue.change_detection=content"],
    ],
)
def test_change_detection_by_column_and_the_column_go_together(tmp_path: Path, overrides: list[str]) -> None:
    line = complaint(tmp_path, MINIMAL, *overrides)
    assert line == (
        f"{tmp_path / 'conf.yaml'}: catalogue: change_detection 'column' and fingerprint_column go together; "
        "set both or neither"
    )


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("index", "trees", 3),
        ("catalogue", "path", "elsewhere"),
        ("catalogue", "unheard_of", 1),
    ],
)
def test_settings_are_frozen(tmp_path: Path, section: str, key: str, value: Any) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValidationError):
        setattr(getattr(settings, section), key, value)
    with pytest.raises(ValidationError):
        setattr(settings, section, getattr(settings, section))


@pytest.mark.parametrize(
    ("keep", "group", "expected"),
    [
        ("[]", "null", ()),
        ("[colour]", "null", ("colour",)),
        ("[]", "kind", ("kind",)),
        ("[colour]", "kind", ("colour", "kind")),
        ("[kind, colour]", "kind", ("kind", "colour")),
        ("[colour, colour]", "null", ("colour",)),
    ],
)
def test_kept_columns_contain_the_group_once(tmp_path: Path, keep: str, group: str, expected: tuple[str, ...]) -> None:
    overrides = (f"catalogue.keep_columns={keep}", f"similar.group_by={group}")
    assert load(tmp_path, MINIMAL, *overrides).kept_columns == expected


def test_known_keys_are_the_fields_of_the_sections() -> None:
    keys = list(config.known_keys())
    assert len(keys) == len(set(keys))
    for key in ("catalogue", "catalogue.path", "model.precision", "index.seed", "report.enabled"):
        assert key in keys


@pytest.mark.parametrize(
    "override", ["similar.k=true", "index.trees=yes", "similar.recall_floor=true", "similar.k='3'"]
)
def test_value_of_another_type_is_refused(tmp_path: Path, override: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalogue: {path: a}\nwarehouse: {path: b}\n")
    with pytest.raises(ConfigError, match="should be a valid"):
        config_file.load(file, [override])


@pytest.mark.parametrize(
    "override",
    [
        "catalogue.image_root=https://user:hunter2@host/",
        "catalogue.image_root=https://host/x?X-Amz-Signature=hunter2",
        "model.weights=s3://key:hunter2@bucket/w.h5",
        "images.allowed_roots=https://host,https://hunter2@host",
        "stores.s3_endpoint=http://user:hunter2@minio",
        "warehouse.path=abfs://c:hunter2@account/x",
    ],
)
def test_secret_in_the_settings_is_refused_and_not_repeated(tmp_path: Path, override: str) -> None:
    line = complaint(tmp_path, MINIMAL, override)
    assert "environment" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "override",
    [
        "catalogue.image_root=abfs://photos@shop.dfs.core.windows.net/x",
        "catalogue.path=/data/what?.parquet",
        "catalogue.image_root=file:///data/a?b=c",
        "images.allowed_roots=s3://bucket/photos,/data,https://cdn.shop",
    ],
)
def test_path_or_uri_without_a_secret_is_accepted(tmp_path: Path, override: str) -> None:
    key, _, value = override.partition("=")
    section, _, name = key.partition(".")
    assert getattr(getattr(load(tmp_path, MINIMAL, override), section), name) in (value, tuple(value.split(",")))


@pytest.mark.parametrize(
    "override",
    [
        "images.resize=squeeze",
        "images.background=white",
        "images.background=#fff",
        "images.read_timeout=0",
        "images.retries=-1",
        "images.decode_timeout=never",
        "model.weights_sha256=abc",
        "model.weights_sha256=" + "a" * 64,  # of imagenet's download
    ],
)
def test_wrong_values_of_images_and_weights_are_refused(tmp_path: Path, override: str) -> None:
    assert override.partition("=")[0].partition(".")[0] in complaint(tmp_path, MINIMAL, override)
