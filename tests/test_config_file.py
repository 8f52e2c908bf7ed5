"""Settings read from YAML: right ones are typed, wrong ones are one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike import config, config_file
from lookalike.errors import ConfigError
from support.settings_file import MINIMAL, complaint, load


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


def test_override_wins_over_the_file_and_changes_no_other_key(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL + "index: {trees: 7, seed: 8}\n", "index.trees=9")
    assert (settings.index.trees, settings.index.seed) == (9, 8)


def test_override_may_set_a_key_that_the_file_lacks(tmp_path: Path) -> None:
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
    "text",
    [
        *("/a # b/wh", "a: b", "*x", "&x", "[x]", "{a}", "- x", "null", "~", "yes", "0123", "1e3", "2026-01-02", " a "),
        *("'x'", '"', "!x", "%x", "@x", "`x`", "x #", "a=b", "Möbel", "|", ">", "\\", "a,b", "? x", "x:"),
    ],
)
def test_text_of_an_override_is_taken_as_it_is_typed(tmp_path: Path, text: str) -> None:
    settings = load(tmp_path, MINIMAL, f"warehouse.path={text}", f"catalogue.item_id_column={text}")
    assert (settings.warehouse.path, settings.catalogue.item_id_column) == (text, text)
    if text not in ("null",):  # the word for no value, where there may be none
        assert load(tmp_path, MINIMAL, f"similar.eligible={text}").similar.eligible == text


@pytest.mark.parametrize("text", ["", "null", " null "])
def test_key_that_may_have_no_value_is_set_back_by_null_or_nothing(tmp_path: Path, text: str) -> None:
    given = MINIMAL + "similar: {group_by: kind, min_score: 0.5}\n"
    similar = load(tmp_path, given, f"similar.group_by={text}", f"similar.min_score={text}").similar
    assert (similar.group_by, similar.min_score) == (None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[yes, 007]", ("yes", "007")),
        ("yes,007", ("yes", "007")),
        ("a #b, c", ("a #b", "c")),
        ("1", ("1",)),
        ("[x]/y", ("[x]/y",)),
        ("a: b", ("a: b",)),
        ("", ()),
        ("['a, b', c]", ("a, b", "c")),
    ],
)
def test_texts_of_a_list_are_taken_as_they_are_typed(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert load(tmp_path, MINIMAL, f"catalogue.keep_columns={text}").catalogue.keep_columns == expected


def test_wrong_value_is_said_to_be_of_the_override_or_of_the_file(tmp_path: Path) -> None:
    assert complaint(tmp_path, MINIMAL, "index.trees=4", "index.trees=x").startswith("--set index.trees=x: index.trees")
    assert complaint(tmp_path, MINIMAL, "index={trees: x}").startswith("--set index={trees: x}: index.trees")
    assert complaint(tmp_path, MINIMAL + "index: {trees: x}", "index.seed=4").startswith(f"{tmp_path}/conf.yaml: ")


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in complaint(tmp_path, MINIMAL, "catalogue.path=M\udcf6bel")
    assert "unicode" in complaint(tmp_path, 'catalogue: {path: "M\\uDCF6bel"}\nwarehouse: {path: out}\n')


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("index.trees", "section.key=value"),
        ("indexx.trees=1", "--set indexx.trees=1: unknown key 'indexx'"),
        ("index.trees.x=1", "--set index.trees.x=1: index.trees: input should be a valid integer"),
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
        ("", "found nothing"),
        ("# only a comment\n", "found nothing"),
        ("- a\n- b\n", "found a list"),
        ("just words", "found a single value"),
        ("catalogue.path: x\nwarehouse.path: y", "write 'catalogue:' and below it '  path:'"),
        ("catalogue: x\nwarehouse: {path: y}", "catalogue: expected keys, such as 'catalogue: {key: value}'"),
        ("catalogue: {path: x, keep_columns: {a: b}}\nwarehouse: {path: y}", "should be a list (got"),
        ("catalogue:\n\tpath: x", "at line 2, column 1: path: x ^; indent it by blanks, not by tabs"),
        ("{", "not YAML"),
        ("a: b: c", "not YAML"),
        ("\tcatalogue: 1", "not YAML"),
        (b"\x00\x01", "not YAML"),
        (b"PAR1\xff\xfe\x00PAR1", "not YAML"),
        (MINIMAL.encode("utf-16"), "it is not UTF-8 (invalid start byte); save it as UTF-8"),
        (MINIMAL + "1: 2", "keys should be strings"),
    ],
)
def test_file_that_is_not_sections_in_yaml_is_refused(tmp_path: Path, text: str | bytes, part: str) -> None:
    line = complaint(tmp_path, text)
    assert part in line
    assert "conf.yaml" in line


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + MINIMAL) == load(tmp_path)


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_unreadable_file_is_refused_with_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_file.load(tmp_path / name)
    assert str(refused.value).startswith(f"{tmp_path / name}: ")
    assert "--config" in str(refused.value)


def test_bad_configuration_ends_the_job_with_2() -> None:
    assert ConfigError("x").exit_code == 2


def test_misspelt_required_key_gets_its_hint_and_not_that_it_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalog: {path: a}\nwarehouse: {path: b}\n")
    with pytest.raises(ConfigError, match=r"unknown key 'catalog'; did you mean 'catalogue'\?"):
        config_file.load(file)


def test_section_with_every_key_commented_out_is_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalogue: {path: a}\nwarehouse: {path: b}\nindex:\n")
    assert config_file.load(file, ["index.trees=3"]).index == config.IndexSettings(trees=3)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(10 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "more than 1,000,000 characters, with what its aliases"),
        (
            "x: &a " + 100_000 * "z" + "\ny: [" + 11 * "*a, " + "]",
            "more than 1,000,000 characters, with what its aliases",
        ),
        (1_000_001 * " ", "more than 1,000,000 characters; give --config"),
        ("x: &a [*a]", "an alias of what it is a part of, at line 3"),
        ("x: &a {<<: *a}", "an alias of what it is a part of, at line 3"),
        ("similar: {k: " + 3000 * "[", "nested too deep"),
        ("similar: {k: 1" + 3000 * ":59" + "}", "similar.k: input should be less than or equal to 1000 (got a value"),
        ('similar: {k: !!int ""}', "a value does not fit its tag"),
        ("similar: {k: !!bool x}", "a value does not fit its tag"),
        ("similar: {k: !!timestamp x}", "a value does not fit its tag"),
        ("similar: {k: !!binary aGk=}", "similar.k: input should be a valid integer (got b'hi')"),
        ("similar: {k: !!set {a}}", "similar.k: input should be a valid integer"),
        ("similar: {k: 2020-01-01}", "similar.k: input should be a valid integer"),
        ("similar: {group_by: " + 90_000 * "z" + ", k: x}", "similar.k: input"),
        ("similar: {k: " + 90_000 * "z" + "}", "similar.k: input should be a valid integer (got 'zzz"),
        ("? [a]\n: b", "unhashable key"),
        ("1: 2", "1: keys should be strings"),
        ("x: !!python/name:os.system {}", "could not determine a constructor"),
        ("model: {weights: 'https://u:s3cr3t@h/x?sig=s3cr3t'}", "model.weights: holds a password"),
        ("similar: {k: 'https://u:s3cr3t@h/x?sig=s3cr3t'}", "(got 'https://…@h/x?…')"),
        ('similar: {k: "\\e[31m\\u202e"}', "(got '\\x1b[31m\\u202e')"),
    ],
    ids=lambda value: value[:20],
)
def test_hostile_settings_are_refused_by_one_short_line(tmp_path: Path, text: str, said: str) -> None:
    line = complaint(tmp_path, f"catalogue: {{path: a}}\nwarehouse: {{path: b}}\n{text}")
    assert said in line
    assert len(line) <= 500
    assert line.isprintable()
    assert "s3cr3t" not in line


def test_alias_that_repeats_little_is_read(tmp_path: Path) -> None:
    settings = load(tmp_path, "catalogue: &c {path: a}\nwarehouse: {<<: *c}\nindex: {trees: &t 3}\nsimilar: {k: *t}\n")
    assert (settings.warehouse.path, settings.similar.k) == ("a", 3)


@pytest.mark.parametrize("override", ["similar.k=[&a [1, 1], *a, &b [*b]]", 'similar.k=!!int ""'])
def test_override_is_bounded_too(tmp_path: Path, override: str) -> None:
    assert "the value is not YAML" in complaint(tmp_path, MINIMAL, override)


def test_file_that_never_ends_is_refused() -> None:
    with pytest.raises(ConfigError):
        config_file.load(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["index: {seed: 2020-13-45}", "[" * 3000])
def test_yaml_that_crashes_the_loader_is_a_config_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="not YAML"):
        config_file.load(file)


def test_key_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalogue: {path: a}\nwarehouse: {path: b}\nsimilar: {k: 3}\nsimilar: {group_by: c}\n")
    with pytest.raises(ConfigError, match="key 'similar' occurs twice"):
        config_file.load(file)


def test_key_left_blank_is_its_default(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("catalogue: {path: a, image_root: , keep_columns: }\nwarehouse: {path: b}\n")
    assert config_file.load(file).catalogue == config.CatalogueSettings(path="a")
