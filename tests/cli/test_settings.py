"""`lookalike config` prints every key: the defaults, or what is in force."""

from __future__ import annotations

from pathlib import Path

import yaml
from typer.testing import CliRunner

from lookalike import config, config_file
from lookalike.cli.main import app

RUNNER = CliRunner()


def test_defaults_are_a_file_to_begin_with(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["config"])
    assert (done.exit_code, done.stderr) == (0, "")
    file = tmp_path / "shop.yaml"
    file.write_text(done.stdout, encoding="utf-8")
    assert config_file.load(file).similar == config.SimilarSettings()


def test_with_a_file_the_values_are_those_in_force(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("catalogue: {path: a.parquet}\nwarehouse: {path: b}\nsimilar: {k: 3, spare: 2}\n")
    done = RUNNER.invoke(app, ["config", "--config", str(file), "--set", "similar.k=4"])
    printed = yaml.safe_load(done.stdout)
    assert (printed["catalogue"]["path"], printed["similar"]["k"], printed["similar"]["spare"]) == ("a.parquet", 4, 2)
    assert sum(len(keys) + 1 for keys in printed.values()) == len(list(config.known_keys()))


def test_wrong_key_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("similar: {kk: 3}\n")
    done = RUNNER.invoke(app, ["config", "--config", str(file)])
    assert done.exit_code == 2
    assert done.stderr == f"ConfigError: {file}: unknown key 'similar.kk'; did you mean 'similar.k'?\n"
