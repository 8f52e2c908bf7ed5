import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import contender
import memory
import nights
import pictures
import pyarrow.parquet as pq
import pytest
import run
import submitted
import variations
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
        pictures=100, large=3, varied=9, nights=1, beside="", input_size=224, only="*", out=tmp_path / "new/embed.json"
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


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve variations of four drawn pictures."""
    folder = tmp_path_factory.mktemp("varied")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "PHOTOS", folder / "no photos")
        patch.setattr(pictures, "DRAWN", 4)
        return variations.made(folder, 12)


def test_variations_are_all_different_and_have_the_columns_of_the_pictures_given(varied):
    table, given = (pq.read_table(folder / "catalogue.parquet") for folder in (varied, varied.with_name("drawn-4")))
    assert table.column_names == given.column_names
    assert table["kind"].to_pylist() == given["kind"].to_pylist() * 3
    assert len(set(table["item_id"].to_pylist())) == 12
    files = pictures.paths(varied)
    assert len({path.read_bytes() for path in files}) == 12
    sizes = [
        {Image.open(path).size for path in paths} for paths in (files, pictures.paths(varied.with_name("drawn-4")))
    ]
    assert sizes[0] == sizes[1]


def test_a_variation_depends_on_its_number_alone(varied, tmp_path):
    drawn = pictures.paths(varied.with_name("drawn-4"))[1]
    variations.write([(drawn, tmp_path / "five.jpg", 5), (drawn, tmp_path / "nine.jpg", 9)])
    made = pictures.paths(varied)
    assert (tmp_path / "five.jpg").read_bytes() == made[5].read_bytes()
    assert (tmp_path / "nine.jpg").read_bytes() == made[9].read_bytes()


def test_given_photos_are_found_by_their_catalogue(varied, monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "PHOTOS", varied)
    assert pictures.source().startswith("photos-")
    assert pictures.given(tmp_path) == varied
    assert len(pictures.paths(pictures.plain(tmp_path, 3))) == 3
    assert pictures.are_enough(12)
    assert not pictures.are_enough(13)


def test_more_pictures_than_given_are_variations(varied, monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "PHOTOS", varied)
    monkeypatch.setattr(run, "CACHE", tmp_path)
    for wanted, kind in ((12, "photos-"), (13, "varied-")):
        options = run.arguments().parse_args([f"--pictures={wanted}"])
        found = run.picture_sets([run.CONTENDERS[0]], options)["plain"]
        assert found["pictures"] == wanted
        assert Path(found["catalogue"]).name.startswith(kind)


def test_a_day_changes_some_pictures_removes_some_items_and_leaves_the_rest(varied, tmp_path):
    shop = nights.Shop(varied, tmp_path)
    tables = [shop.pass_a_day(changed=0.5, gone=0.25) for _ in range(2)]
    first, second = map(pq.read_table, tables)
    before = pq.read_table(varied / "catalogue.parquet")
    for earlier, later, left in ((before, first, 9), (first, second, 7)):
        shown = dict(zip(earlier["item_id"].to_pylist(), earlier["image_path"].to_pylist(), strict=True))
        now = dict(zip(later["item_id"].to_pylist(), later["image_path"].to_pylist(), strict=True))
        assert len(now) == left < len(shown)
        assert sum(path != shown[item] for item, path in now.items()) == round(0.5 * left)
        assert all((varied / path).is_file() for path in now.values())
    contents = [(varied / path).read_bytes() for path in second["image_path"].to_pylist()]
    assert len(set(contents)) == len(contents)


NIGHT = {"seconds": 30.0, "start_up": 5.0, "after_start_up": 25.0, "embedded": 10}
STEPS = {"embed": 20.0, "index": 2.0, "neighbours": 1.0}


def test_shares_are_of_the_mean_night_in_the_time_from_nothing():
    def night(after: float, **steps: float) -> dict:
        return {**NIGHT, "seconds": after + 5, "after_start_up": after, "steps": {**STEPS, **steps}}

    found = nights.shares(
        {
            nights.FIRST: night(100, embed=50),
            f"{nights.LATER} 1": night(10, embed=1, index=1),
            f"{nights.LATER} 2": night(20, embed=2, index=2),
            nights.LAST: night(3),
        }
    )
    assert found["night_share"] == 0.15
    assert (found["embed_share"], found["index_share"], found["neighbours_share"]) == (0.03, 0.75, 1.0)
    assert (found["full_seconds"], found["night_seconds"], found["nothing_seconds"]) == (105, 20, 8)


def test_nights_are_shown_by_checkout_with_the_steps_of_any():
    of = {nights.FIRST: {**NIGHT, "steps": STEPS}, nights.LAST: {**NIGHT, "steps": {}}}
    older = {nights.FIRST: {**NIGHT, "steps": {"embed": 40.0, "similar": 9.0}}}
    header, first, last, beside = report.nights_table(
        {"nights": {"nights": {"here": of, "beside": older}}}
    ).splitlines()
    assert header.split()[-4:] == ["embed", "index", "neighbours", "similar"]
    assert first.split() == ["here:", "from", "nothing", "10", "5.0", "25.0", "20.0", "2.0", "1.0"]
    assert last.split() == ["here:", "nothing", "changed", "10", "5.0", "25.0"]
    assert beside.split()[-2:] == ["40.0", "9.0"]
    assert report.nights_table({}) == ""


STAND_IN = """#!/usr/bin/env python3
import json, os, pathlib, sys, time
told = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
assert os.environ["PYTHONPATH"] == str(pathlib.Path.cwd() / "lib")
time.sleep(0.2)
print("      read: catalogue", file=sys.stderr, flush=True)
if told["catalogue.path"] == "nothing": sys.exit()
warehouse = pathlib.Path(told["warehouse.path"])
(warehouse / "models").mkdir(parents=True, exist_ok=True)
(warehouse / "models" / "compiled").write_text("model")
release = warehouse / told["release"]
release.mkdir()
(release / "release.json").write_text(json.dumps({"pictures": {"embedded": 7}, "seconds": {"model": 9.0}}))
(warehouse / "current").unlink(missing_ok=True)
(warehouse / "current").symlink_to(release)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> submitted.Checkout:
    """A folder whose spark-submit publishes a release at once."""
    program = tmp_path / "checkout/.venv/bin/spark-submit"
    program.parent.mkdir(parents=True)
    program.write_text(STAND_IN)
    program.chmod(0o755)
    return submitted.Checkout(tmp_path / "checkout")


def test_a_run_tells_its_start_up_apart_and_what_it_published(checkout, tmp_path):
    told = {"catalogue.path": "some", "warehouse.path": str(tmp_path / "warehouse"), "release": "1"}
    found = checkout.run(told, tmp_path / "log")
    assert found["embedded"] == 7
    assert found["steps"] == {"model": 9.0}
    assert found["start_up"] >= 0.2
    assert found["seconds"] == pytest.approx(found["start_up"] + found["after_start_up"], abs=0.11)
    nothing = checkout.run({**told, "catalogue.path": "nothing"}, tmp_path / "log")
    assert (nothing["embedded"], nothing["steps"]) == (0, {})
    with pytest.raises(contender.ContenderError, match=f"ended with code 1, see {tmp_path / 'log'}"):
        checkout.run({**told, "warehouse.path": "/dev/null"}, tmp_path / "log")


def test_a_new_warehouse_has_the_compiled_model_and_no_release(checkout, varied, tmp_path):
    told = {"catalogue.path": str(varied / "catalogue.parquet"), "release": "1"}
    assert checkout.compile(told, tmp_path / "new", tmp_path / "log") == 9.0
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == ["compiled", "models"]
