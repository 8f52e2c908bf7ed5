import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import memory
import pictures
import pytest
import run
from PIL import Image

import report

SPEEDS = {
    "recipe": {"pictures": 100, "end_to_end": 10.0, "steady": 11.0, "load": 0.5},
    "ours-int8": {"pictures": 100, "end_to_end": 44.9, "steady": 60.0, "worker_mb": 260.0},
    "bare-int8": {"pictures": 100, "steady": 66.0},
    "large-recipe": {"pictures": 3, "error": "ended with code 1"},
    "memory": {"worker_mb": 350.0},
    "fidelity": {"pictures": 1000, "mean_cosine": 0.9969, "top10_overlap": 0.98},
}


def goal(what: str) -> report.Goal:
    (found,) = [goal for goal in report.GOALS if goal.what.startswith(what)]
    return found


@pytest.mark.parametrize(
    ("what", "value", "met"),
    [
        ("int8 over the recipe", 4.49, False),
        ("int8 through Spark", 0.90909, True),
        ("float32 over the recipe", None, None),  # it did not run
        ("large JPEGs: int8 over the recipe", None, None),  # the recipe failed
        ("peak memory of a worker, 2,000 x 2,000 JPEG", 350, True),  # at most: the limit itself is met
        ("int8 to float32, mean cosine", 0.9969, False),
        ("bare engine over OpenVINO, int8, without AMX", None, None),
    ],
)
def test_goal_has_a_value_where_its_contenders_ran_and_is_held_against_its_threshold(what, value, met):
    assert goal(what).value(SPEEDS) == value
    assert goal(what).met(SPEEDS) is met


def test_ratio_over_a_contender_that_did_nothing_has_no_value():
    assert goal("int8 through Spark").value(SPEEDS | {"bare-int8": {"steady": 0.0}}) is None


def test_goal_table_shows_threshold_and_verdict_of_those_with_a_value():
    _header, recipe, spark, *_, memory_line = report.goal_table(SPEEDS).splitlines()
    assert recipe.endswith("  4.49     >= 4.5  NOT met")
    assert spark.endswith(" 0.9091     >= 0.9      met")
    assert memory_line.endswith("    350     <= 350      met")
    assert "float32 over the recipe" not in report.goal_table(SPEEDS)


def test_speed_table_leaves_out_what_was_not_measured():
    header, recipe, *_, large, _memory, _fidelity = report.speed_table(SPEEDS).splitlines()
    assert header.split()[0] == "pictures"
    assert recipe.split() == ["recipe", "100", "10.0", "11.0", "0.5"]
    assert large.split() == ["large-recipe", "3"]


def test_every_goal_names_contenders_that_exist():
    named = {figure.contender for goal in report.GOALS for figure in (goal.figure, goal.over) if figure}
    assert named <= set(run.names())


def test_every_contender_is_a_script_that_exists():
    folder = Path(run.__file__).parent
    assert [one.script for one in run.CONTENDERS if not (folder / f"{one.script}.py").exists()] == []


def test_only_takes_names_and_patterns_in_the_order_of_the_table():
    assert [one.name for one in run.choose("openvino-int8,recipe", run.CONTENDERS)] == ["recipe", "openvino-int8"]
    assert [one.name for one in run.choose("bare-*", run.CONTENDERS)] == [
        "bare-float32",
        "bare-int8",
        "bare-int8-openvino",
    ]
    with pytest.raises(SystemExit, match="--only bear: there is recipe"):
        run.choose("recipe,bear", run.CONTENDERS)


def test_record_is_json_with_the_machine_and_every_goal(tmp_path):
    options = argparse.Namespace(
        pictures=100, large=3, refresh=3, input_size=224, only="*", out=tmp_path / "new" / "embed.json"
    )
    record = {"machine": run.machine(), "settings": run.settings(options), "goals": report.goals(SPEEDS)}
    run.write(options.out, record)
    written = json.loads(options.out.read_text())
    assert written["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert {"cpu", "python", "packages"} <= set(written["machine"])
    assert written["settings"]["pictures"] == 100
    assert len(written["goals"]) == len(report.GOALS)
    assert {"what", "value", "threshold", "threshold_is", "met"} == set(written["goals"][0])


def test_cpu_is_the_first_of_the_list(tmp_path):
    listed = tmp_path / "cpuinfo"
    listed.write_text(
        "processor\t: 0\nmodel name\t: One: the first\nflags\t\t: avx2 fma\n\nprocessor\t: 1\nmodel name\t: Two\n"
    )
    assert run.cpu_info(listed) == {"processor": "0", "model name": "One: the first", "flags": "avx2 fma"}
    assert run.cpu_info(tmp_path / "none") == {}


def test_high_water_mark_is_read_from_the_system_and_is_nothing_for_a_process_that_ended():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert memory.high_water_mark(ended.pid) == 0
    assert memory.high_water_mark(os.getpid()) > 10e6


@pytest.mark.parametrize(("make", "modes"), [(pictures.huge, ["RGB", "RGB"]), (pictures.cutouts, ["RGB", "RGBA"])])
def test_enlarged_pictures_are_of_the_kinds_that_are_promised(tmp_path, monkeypatch, make, modes):
    monkeypatch.setattr(pictures, "PHOTOS", tmp_path / "no photos")
    made = pictures.paths(make(tmp_path, 2, pictures.plain(tmp_path, 2)))
    opened = [Image.open(path) for path in made]
    assert [picture.format for picture in opened] == ["JPEG", "PNG"]
    assert [picture.mode for picture in opened] == modes
    assert {picture.size for picture in opened} == {(2000, 2000)}
