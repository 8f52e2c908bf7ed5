"""Settings from YAML: right ones are typed and frozen, wrong ones are one line that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lookalike import config
from lookalike.errors import ConfigError

SHIPPED = sorted(Path(__file__).parents[1].glob("conf/*.yaml"))
MINIMAL = "catalogue: {path: items.parquet}\nwarehouse: {path: out}\n"


def load(tmp_path: Path, text: str | bytes = MINIMAL, *overrides: str) -> config.Settings:
    """Settings from `text` in a file, with overrides."""
    path = tmp_path / "conf.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(path, overrides)


def complaint(tmp_path: Path, text: str | bytes = MINIMAL, *overrides: str) -> str:
    """The one line that refuses `text`."""
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text, *overrides)
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    return line


def test_two_paths_are_enough(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.catalogue.path == "items.parquet"
    assert settings.warehouse.path == "out"
    assert settings == load(tmp_path, MINIMAL + "index: {}\nsimilar: {}\n")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_are_valid(path: Path) -> None:
    config.load(path)


@pytest.mark.parametrize(
    ("added", "key", "hint"),
    [
        ("catalog: {path: a}", "catalog", "did you mean 'catalogue'?"),
        ("idx: {}", "idx", "did you mean 'index'?"),
        ("index: {tree: 3}", "index.tree", "did you mean 'index.trees'?"),
        ("similar: {groupby: kind}", "similar.groupby", "did you mean 'similar.group_by'?"),
        ("model: {weight: bundled}", "model.weight", "did you mean 'model.weights'?"),
        ("shard_items: 3", "shard_items", "did you mean 'index.shard_items'?"),
        ("zzzzqqq: 1", "zzzzqqq", "known sections: catalogue, warehouse, model"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path, added: str, key: str, hint: str) -> None:
    line = complaint(tmp_path, MINIMAL + added)
    assert f"unknown key '{key}'" in line
    assert hint in line


def test_every_known_key_is_suggested_for_itself_with_a_letter_missing(tmp_path: Path) -> None:
    for key in config.known_keys():
        section, _, name = key.partition(".")
        if name:
            assert f"'{key}'" in complaint(tmp_path, MINIMAL, f"{section}.{name[:-1]}=1")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("warehouse: {path: out}", "catalogue"),
        ("catalogue: {path: a}", "warehouse"),
        ("catalogue: {}\nwarehouse: {path: out}", "catalogue.path"),
        ("catalogue: {path: a}\nwarehouse: {}", "warehouse.path"),
    ],
)
def test_missing_key_is_named_with_how_to_set_it(tmp_path: Path, text: str, key: str) -> None:
    line = complaint(tmp_path, text)
    assert f"'{key}' is missing" in line
    assert f"--set {key}=" in line


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
        ("similar.group_by=no", ("similar.group_by", "string", "False")),
        ("gates.max_failed_share=.nan", ("gates.max_failed_share", "nan")),
        ("gates.max_failed_share=.inf", ("gates.max_failed_share", "inf")),
        ("model.precision=int4", ("model.precision", "'int8' or 'float32'", "'int4'")),
        ("model.input_size=31", ("model.input_size", "greater than or equal to 32")),
        ("catalogue.change_detection=hash", ("catalogue.change_detection", "'stat', 'column' or 'content'", "'hash'")),
        ("catalogue.fingerprint_column=''", ("catalogue.fingerprint_column", "at least 1 character")),
        ("warehouse.lock_ttl=0", ("warehouse.lock_ttl", "greater than 0")),
        ("warehouse.grace=-1", ("warehouse.grace", "greater than or equal to 0")),
        ("embed.commit_every=0", ("embed.commit_every", "greater than or equal to 1")),
        ("gates.max_items_lost=1.5", ("gates.max_items_lost", "less than or equal to 1")),
        ("gates.max_hub=0.5", ("gates.max_hub", "greater than or equal to 1")),
        ("report.enabled=maybe", ("report.enabled", "boolean", "'maybe'")),
        ("catalogue.path=''", ("catalogue.path", "at least 1 character")),
        ("catalogue.path=2024", ("catalogue.path", "string", "2024")),
        ("catalogue.keep_columns=3", ("catalogue.keep_columns", "3")),
        ("catalogue.keep_columns=[a, 1]", ("catalogue.keep_columns.1", "string", "1")),
        ('catalogue.image_root=["a\\nb"]', ("catalogue.image_root", "string")),
        ("index=5", ("index", "Index", "5")),
        ("index.trees.deep=3", ("index.trees", "integer")),
    ],
)
def test_wrong_value_is_one_line_with_the_key_and_the_value(
    tmp_path: Path, override: str, parts: tuple[str, ...]
) -> None:
    line = complaint(tmp_path, MINIMAL, override)
    for part in parts:
        assert part in line


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
    ("overrides", "key", "value"),
    [
        (["index.trees=3"], "trees", 3),
        ([" index.trees =3"], "trees", 3),
        (["index.trees= 3 "], "trees", 3),
        (["index.trees=3", "index.trees=4"], "trees", 4),
        (["index={trees: 9, seed: 1}"], "trees", 9),
        (["index={trees: 9}", "index.seed=5"], "trees", 9),
        (["index={trees: 9}", "index.seed=5"], "seed", 5),
        (["index.trees=9", "index={seed: 5}"], "trees", 50),
    ],
)
def test_overrides_are_applied_in_order(tmp_path: Path, overrides: list[str], key: str, value: int) -> None:
    assert getattr(load(tmp_path, MINIMAL, *overrides).index, key) == value


def test_override_beats_the_file_and_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL + "index: {trees: 7, seed: 8}\n", "index.trees=9")
    assert (settings.index.trees, settings.index.seed) == (9, 8)


def test_override_may_supply_a_key_that_the_file_misses(tmp_path: Path) -> None:
    text = "catalogue: {path: a}\n"
    assert load(tmp_path, text, "warehouse.path=there").warehouse.path == "there"


def test_value_of_an_override_may_hold_an_equals_sign(tmp_path: Path) -> None:
    path = load(tmp_path, MINIMAL, "catalogue.path=day=1/items").catalogue.path
    assert path == "day=1/items"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("category, colour", ("category", "colour")),
        ("category,colour", ("category", "colour")),
        ("[category, colour]", ("category", "colour")),
        ("category", ("category",)),
        ("[]", ()),
    ],
)
def test_columns_are_a_list_or_a_comma_string(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    overridden = load(tmp_path, MINIMAL, f"catalogue.keep_columns={text}")
    in_file = load(
        tmp_path,
        f"catalogue:\n  path: a\n  keep_columns: {text}\nwarehouse: {{path: out}}\n",
    )
    assert overridden.catalogue.keep_columns == expected
    assert in_file.catalogue.keep_columns == expected


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("index.trees", "section.key=value"),
        ("", "section.key=value"),
        ("=3", "section.key=value"),
        ("  =3", "section.key=value"),
        ("index.trees=[", "not YAML"),
        ("index.trees=a: b: c", "not YAML"),
        ("index.trees=!!python/object:os.system 1", "not YAML"),
        ("catalogue.path.deep=1", "'path' is a value, not a section"),
        (".=3", "unknown key"),
        ("index..trees=3", "unknown key"),
    ],
)
def test_malformed_override_is_refused(tmp_path: Path, override: str, part: str) -> None:
    line = complaint(tmp_path, MINIMAL, override)
    assert part in line
    assert "--set" in line or "unknown key" in line


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "found NoneType"),
        ("# only a comment\n", "found NoneType"),
        ("- a\n- b\n", "found list"),
        ("just words", "found str"),
        ("{", "not YAML"),
        ("a: b: c", "not YAML"),
        ("\tcatalogue: 1", "not YAML"),
        (b"\x00\x01", "not YAML"),
        (b"PAR1\xff\xfe\x00PAR1", "not YAML"),
        (MINIMAL.encode("utf-16"), "not YAML"),
        (MINIMAL + "1: 2", "keys should be strings"),
    ],
)
def test_file_that_is_not_sections_in_yaml_is_refused(tmp_path: Path, text: str | bytes, part: str) -> None:
    line = complaint(tmp_path, text)
    assert part in line
    assert "conf.yaml" in line


def test_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + MINIMAL) == load(tmp_path)


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_unreadable_file_is_refused_with_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(tmp_path / name)
    assert str(refused.value).startswith(f"{tmp_path / name}: ")
    assert "--config" in str(refused.value)


def test_bad_configuration_ends_the_job_with_2() -> None:
    assert ConfigError("x").exit_code == 2


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
    ("model", "size"),
    [
        ({}, 224),
        ({"weights": "imagenet"}, 224),
        ({"weights": "bundled"}, 112),
        ({"weights": "/models/mine.h5"}, 224),
        ({"weights": "bundled", "input_size": 64}, 64),
        ({"weights": "imagenet", "input_size": 112}, 112),
    ],
)
def test_input_size_follows_the_weights_unless_it_is_given(model: dict[str, Any], size: int) -> None:
    assert config.Model(**model).size == size


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
def test_kept_columns_hold_the_group_once(tmp_path: Path, keep: str, group: str, expected: tuple[str, ...]) -> None:
    overrides = (f"catalogue.keep_columns={keep}", f"similar.group_by={group}")
    assert load(tmp_path, MINIMAL, *overrides).kept_columns == expected


def test_known_keys_are_the_fields_of_the_sections() -> None:
    keys = list(config.known_keys())
    assert len(keys) == len(set(keys))
    for key in ("catalogue", "catalogue.path", "model.precision", "index.seed", "report.enabled"):
        assert key in keys


def test_misspelt_required_key_gets_its_hint_and_not_that_it_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalog: {path: a}\nwarehouse: {path: b}\n")
    with pytest.raises(ConfigError, match=r"unknown key 'catalog'; did you mean 'catalogue'\?"):
        config.load(file)


def test_section_with_every_key_commented_out_is_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalogue: {path: a}\nwarehouse: {path: b}\nindex:\n")
    assert config.load(file, ["index.trees=3"]).index == config.Index(trees=3)


@pytest.mark.parametrize("text", ["index: {seed: 2020-13-45}", "[" * 3000])
def test_yaml_that_the_loader_chokes_on_is_a_config_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="not YAML"):
        config.load(file)


def test_key_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalogue: {path: a}\nwarehouse: {path: b}\nsimilar: {k: 3}\nsimilar: {group_by: c}\n")
    with pytest.raises(ConfigError, match="key 'similar' occurs twice"):
        config.load(file)


@pytest.mark.parametrize(
    "override", ["similar.k=true", "index.trees=yes", "similar.recall_floor=true", "similar.k='3'"]
)
def test_value_of_another_type_is_refused(tmp_path: Path, override: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalogue: {path: a}\nwarehouse: {path: b}\n")
    with pytest.raises(ConfigError, match="should be a valid"):
        config.load(file, [override])


def test_key_left_blank_is_its_default(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalogue: {path: a, image_root: , keep_columns: }\nwarehouse: {path: b}\n")
    assert config.load(file).catalogue == config.Catalogue(path="a")


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
def test_place_without_a_secret_is_taken(tmp_path: Path, override: str) -> None:
    load(tmp_path, MINIMAL, override)


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
def test_images_and_weights_take_sane_values_only(tmp_path: Path, override: str) -> None:
    assert override.partition("=")[0].partition(".")[0] in complaint(tmp_path, MINIMAL, override)
