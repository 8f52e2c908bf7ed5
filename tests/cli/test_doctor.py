"""`lookalike doctor` over the session of the tests: its lines, its object, its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lookalike.cli import output
from lookalike.doctor import probe
from lookalike.models import weights_file
from support.command import command, override
from support.json_shapes import documented
from support.shop import Shop


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Settings over a small shop."""
    shop = Shop.of(tmp_path / "shop", 3)
    shop.write()
    path = tmp_path / "shop.yaml"
    path.write_text(shop.settings(tmp_path / "warehouse").model_dump_json())  # JSON is YAML
    return path


def test_each_check_is_a_line_and_the_object_has_the_same(spark: SparkSession, file: Path) -> None:
    run = command(spark, "doctor", file)
    assert run.code == 0, run.output
    lines = run.output.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(lines)
    names = [line.split()[1].rstrip(":") for line in lines]
    expected = ["paths", "weights", "java", "spark", "pyspark.memory", "driver", "python", "engine", "annoy", "memory"]
    assert names == [*expected, "warehouse", "clocks"]
    asked = command(spark, "doctor", file, "--json")
    found = json.loads(asked.output)
    assert list(found) == documented("doctor")
    assert [check["name"] for check in found["checks"]] == names
    assert found["state"] == "ok"
    assert found["memory"]["needs"] == sum(
        size for name, size in found["memory"].items() if name not in ("executors", "tasks", "has", "needs")
    )


def test_check_that_fails_ends_with_2_and_the_others_are_done(
    spark: SparkSession, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = weights_file.digest(weights_file.BUNDLED)
    wrong = override(f"model.weights_sha256={digest[::-1]}")
    run = command(spark, "doctor", file, *wrong)
    assert run.code == 2
    failed = [line for line in run.output.splitlines() if line.startswith("fail")]
    assert len(failed) == 1
    assert "not that of model.weights_sha256; take the right file" in failed[0]
    assert run.output.splitlines()[-1].startswith("ok   clocks")


def test_reader_that_ends_first_ends_the_command(
    spark: SparkSession, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: str) -> None:
        raise output.ReaderGone

    monkeypatch.setattr(output, "line", gone)
    assert command(spark, "doctor", file).code == 0


def test_folder_of_pictures_that_is_not_on_this_machine_is_a_warning(spark: SparkSession, file: Path) -> None:
    run = command(spark, "doctor", file, *override(f"catalogue.image_root={file.parent}/none"))
    assert run.code == 0
    warned = [line for line in run.output.splitlines() if line.startswith("warn")]
    assert len(warned) == 1
    assert f"paths: catalogue.image_root: there is no folder '{file.parent}/none' on this machine; give" in warned[0]


def test_memory_that_is_short_is_a_warning_and_no_failure(
    spark: SparkSession, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "machine_memory", lambda: 3 << 30)
    run = command(spark, "doctor", file)
    assert run.code == 0
    (line,) = [line for line in run.output.splitlines() if line.startswith("warn")]
    assert "set --master 'local[1]'" in line
