"""jobs/releases.py: what it prints of releases made by hand, what it changes, and that only diff starts Spark."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lookalike.cli import release_diff
from lookalike.cli.main import app
from lookalike.errors import WarehouseError
from lookalike.warehouse import lock
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import Refused, ReleaseFolder
from support import records
from support.drawn import ROOT
from support.json_shapes import documented
from support.release_files import fill

JOB = ROOT / "jobs" / "releases.py"
FIRST, SECOND, THIRD = (
    "20201120T020000.000000Z-aaaaaa",
    "20201121T020000.000000Z-bbbbbb",
    "20201122T020000.000000Z-cccccc",
)
GATES = [
    {"name": "gates.max_failed_share", "figure": 0.01, "threshold": 0.05, "passed": True, "detail": ""},
    {"name": "similar.recall_floor", "figure": 0.5, "threshold": 0.99, "passed": False, "detail": "for a test"},
]


def record(release_id: str, parent: str | None, **facts: Any) -> dict[str, Any]:
    return {
        "release_id": release_id,
        "parent": parent,
        "created_at": f"2020-11-{release_id[6:8] or 20}T02:10:00+00:00",
        "lookalike": "0.1.0",
        "counts": {**records.COUNTS, "items": 1200, "embedded": 1190, "failed": 10, "failed_by_reason": {"empty": 10}},
        "gates": GATES,
        "model": {"model_id": "feed5eed", "precision": "int8"},
        "changes": {"new": 7, "changed": 5, "unchanged": 1188, "removed": 3, "failed": 0},
        "seconds": {"read": 1.5, "embed": 2.25},
        "config": {"similar": {"k": 2, "group_by": None}},
        **facts,
    }


@dataclass
class Shop:
    """A warehouse with a file of settings that names it, and a catalogue that does not exist."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(str(self.folder / "warehouse"))

    @property
    def config(self) -> Path:
        path = self.folder / "shop.yaml"
        path.write_text(
            f"catalogue: {{path: {self.folder}/gone.parquet}}\nwarehouse: {{path: {self.warehouse.path}}}\n"
        )
        return path

    @property
    def pointer(self) -> Path:
        return self.warehouse.path / "CURRENT"

    def put(self, release_id: str, parent: str | None = None, **facts: Any) -> ReleaseFolder:
        """A release that is now the current one."""
        release = ReleaseFolder(self.warehouse.path / "releases" / release_id)
        fill(release)
        release.record_path.write_text(json.dumps(record(release_id, parent, **facts)))
        self.warehouse.roll_back(release)
        return release

    def refuse(self, release_id: str) -> ReleaseFolder:
        release = Refused(self.warehouse.path / "refused" / release_id)
        fill(release)
        release.record_path.write_text(json.dumps(record(release_id, THIRD)))
        return release

    def three(self) -> list[ReleaseFolder]:
        """Three nights, the last of which is current."""
        return [self.put(FIRST), self.put(SECOND, FIRST), self.put(THIRD, SECOND)]

    def run(self, *words: str) -> list[str]:
        """The lines that a command prints, when it ends well."""
        code, out, err = self.outcome(*words)
        assert (code, err) == (0, "")
        return [line.strip() for line in out.splitlines() if line.strip()]

    def json(self, *words: str) -> dict[str, Any]:
        """What a command prints for a program, when it ends well."""
        code, out, err = self.outcome(*words, "--json")
        assert (code, err) == (0, "")
        found: dict[str, Any] = json.loads(out)
        return found

    def refusal(self, *words: str, code: int = 2) -> str:
        """The one line that a command ends with when it does not."""
        found, _, err = self.outcome(*words)
        assert found == code, err
        assert err.count("\n") == 1
        return err.strip()

    def outcome(self, *words: str) -> tuple[int, str, str]:
        code = 0
        try:
            app(["releases", "--config", str(self.config), *words], prog_name="lookalike")
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *self.capsys.readouterr()

    def current(self) -> str:
        """What the pointer and the symlink name."""
        named = str(json.loads(self.pointer.read_text())["release_id"])
        assert os.readlink(self.warehouse.path / "current") == f"releases/{named}"
        return named

    def ids(self) -> list[str]:
        return [release.release_id for release in self.warehouse.releases()]


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    return Shop(tmp_path, capsys)


# ---- list


def test_list_has_a_line_a_release_the_newest_first(shop: Shop) -> None:
    shop.three()
    refused = "20201123T020000.000000Z-dddddd"
    shop.refuse(refused)
    title, header, *lines = shop.run("list")
    assert "newest first" in title
    assert header.split()[:4] == ["release", "created", "items", "embedded"]
    figures = "1,200  1,190     10      7    5        3        feed5eed"
    assert [line.split("  ")[0] for line in lines] == ["x", "*", SECOND, FIRST]
    assert all(figures in line for line in lines)
    assert refused in lines[0]
    assert lines[0].endswith("refused")
    assert "  current since 20" in lines[1]
    assert "  current until 20" in lines[2]


def test_list_shows_a_release_that_was_never_current_and_one_of_an_older_version(shop: Shop) -> None:
    shop.three()
    shop.pointer.write_text(json.dumps({"release_id": THIRD}))
    ReleaseFolder(shop.warehouse.path / "releases" / FIRST).record_path.write_text(
        json.dumps({key: value for key, value in record(FIRST, None).items() if key != "changes"})
    )
    lines = shop.run("list")
    assert lines[-1].split() == [FIRST, "2020-11-20", "02:10:00", "1,200", "1,190", "10", "-", "-", "-", "feed5eed"]
    assert lines[-2].endswith("feed5eed")
    assert lines[-3].endswith("current since -")


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"\xff"], ids=repr)
def test_list_names_a_release_that_cannot_be_read_with_the_reason(shop: Shop, damaged: bytes) -> None:
    shop.three()[1].record_path.write_bytes(damaged)
    lines = shop.run("list")
    assert len(lines) == 5
    assert lines[3].startswith(SECOND)
    assert "release.json" in lines[3]


@pytest.mark.parametrize("content", ["", json.dumps({"release_id": "gone"})], ids=["unreadable", "release gone"])
def test_list_shows_the_releases_and_then_what_is_wrong_with_the_pointer(shop: Shop, content: str) -> None:
    shop.three()
    shop.pointer.write_text(content)
    code, out, err = shop.outcome("list")
    assert code == 2
    assert all(release_id in out for release_id in (FIRST, SECOND, THIRD))
    assert err.startswith(f"WarehouseError: {shop.pointer}")
    assert re.search("roll ?back", err)


@pytest.mark.parametrize("words", [["list"], ["show"], ["rollback"], ["rollback", "2020"], ["clean", "--keep", "1"]])
def test_mistyped_warehouse_is_an_error_and_not_made(shop: Shop, words: list[str]) -> None:
    assert "holds no release yet" in shop.refusal(*words)
    assert not shop.warehouse.path.exists()


def test_list_for_a_program_has_what_the_lines_show(shop: Shop) -> None:
    shop.three()[0].record_path.write_text("{")
    shop.refuse("20201123T020000.000000Z-dddddd")
    found = shop.json("list")
    assert list(found) == documented("releases list")
    assert found["warehouse"] == str(shop.warehouse.path)
    refused, current, earlier, damaged = found["releases"]
    assert [one["state"] for one in found["releases"]] == ["refused", "current", "earlier", "earlier"]
    assert (refused["current_since"], current["current_until"], earlier["current_since"]) == (None, None, None)
    assert current["counts"] == {"items": 1200, "embedded": 1190, "failed": 10}
    assert current["changes"] == {"new": 7, "changed": 5, "removed": 3}
    assert (current["release_id"], current["model_id"], current["error"]) == (THIRD, "feed5eed", None)
    assert damaged["release_id"] == FIRST
    assert "cannot be read" in damaged["error"]


def test_error_of_a_command_is_one_object_for_a_program(shop: Shop) -> None:
    code, out, err = shop.outcome("list", "--json")
    assert code == 2
    assert list(json.loads(out)) == documented("any, after a named error")
    error = json.loads(out)["error"]
    assert (error["name"], error["exit_code"]) == ("WarehouseError", 2)
    assert err == f"WarehouseError: {error['message']}\n"


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_options_stand_before_the_command_or_after_it(shop: Shop, before: bool) -> None:
    shop.three()
    options, command = ["--config", str(shop.config), "--set", f"warehouse.path={shop.warehouse.path}"], ["list"]
    with pytest.raises(SystemExit) as ended:
        app(["releases", *(options + command if before else command + options)], prog_name="lookalike")
    assert ended.value.code == 0
    assert THIRD in shop.capsys.readouterr().out


def test_command_without_a_file_of_settings_is_one_line(shop: Shop) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["releases", "list"], prog_name="lookalike")
    assert ended.value.code == 2
    assert shop.capsys.readouterr().err == "ConfigError: no file of settings; give --config FILE\n"


# ---- show


def test_show_has_the_figures_the_gates_and_the_sizes_of_the_current_release(shop: Shop) -> None:
    release = shop.three()[-1]
    release.report.write_bytes(b"x" * 2_500_000)
    lines = [" ".join(line.split()) for line in shop.run("show")]
    assert lines[0].startswith(f"Release {THIRD}, current since 20")
    assert f"parent {SECOND}" in lines
    assert "model model_id feed5eed, precision int8" in lines
    assert any(
        line.startswith("counts items 1,200, embedded 1,190, failed 10, failed_by_reason (empty 10)") for line in lines
    )
    assert "seconds read 1.5, embed 2.25" in lines
    assert "gates.max_failed_share: 0.0100, at most 0.05: passed" in lines
    assert "similar.recall_floor: 0.5000, at least 0.99: REFUSED (for a test)" in lines
    assert "report.html 2.5 MB" in lines
    assert not any(line.startswith("index") for line in lines)


def test_show_for_a_program_is_the_record_with_state_and_sizes(shop: Shop) -> None:
    release = shop.three()[-1]
    release.report.write_bytes(b"x" * 2_500_000)
    found = shop.json("show")
    assert list(found) == documented("releases show")
    assert (found["release_id"], found["state"]) == (THIRD, "current")
    assert ReleaseRecord.model_validate_json(json.dumps(found["record"])) == release.record()
    assert found["sizes"]["report.html"] == 2_500_000
    assert found["sizes"]["all"] == sum(size for name, size in found["sizes"].items() if name != "all")


def test_show_takes_the_beginning_of_an_id_and_a_refused_release(shop: Shop) -> None:
    shop.three()
    shop.refuse("20201123T020000.000000Z-dddddd")
    assert shop.run("show", "20201120")[0].startswith(f"Release {FIRST}, current until")
    assert shop.run("show", "20201123")[0] == "Release 20201123T020000.000000Z-dddddd, refused"


@pytest.mark.parametrize("command", [["show"], ["rollback"], ["diff", FIRST]], ids=" ".join)
def test_release_that_is_unknown_or_ambiguous_is_named(shop: Shop, command: list[str]) -> None:
    shop.three()
    for wanted, reason in (("1999", "there is no release '1999'"), ("2020112", "several releases begin with")):
        assert reason in shop.refusal(*command, wanted)
    assert shop.current() == THIRD


# ---- rollback


def test_rollback_goes_back_one_night_each_time_and_not_to_and_fro(shop: Shop) -> None:
    shop.three()
    assert shop.run("rollback") == [f"rolled back from {THIRD} to {SECOND}"]
    assert shop.current() == SECOND
    assert shop.run("rollback") == [f"rolled back from {SECOND} to {FIRST}"]
    assert "no release was current before the first" in shop.refusal("rollback")
    assert shop.current() == FIRST
    assert shop.ids() == [FIRST, SECOND, THIRD]


def test_night_after_a_rollback_goes_back_to_where_it_began_and_not_to_the_bad_release(shop: Shop) -> None:
    shop.three()
    shop.run("rollback", FIRST)
    shop.put("20201123T020000.000000Z-dddddd", FIRST)
    shop.run("rollback")
    assert shop.current() == FIRST


def test_rollback_by_id_goes_both_ways_and_keeps_the_history(shop: Shop) -> None:
    shop.three()
    shop.run("rollback", FIRST)
    assert shop.run("rollback", "20201122") == [f"rolled back from {FIRST} to {THIRD}"]
    pointer = shop.warehouse.pointer()
    assert pointer is not None
    assert [former.release_id for former in pointer.earlier] == [FIRST, SECOND]


def test_rollback_to_the_current_release_says_so_and_does_nothing(shop: Shop) -> None:
    shop.three()
    before = shop.pointer.read_bytes()
    assert "nothing to do" in shop.run("rollback", THIRD)[0]
    assert shop.pointer.read_bytes() == before


def test_rollback_to_a_parent_that_is_gone_asks_for_another(shop: Shop) -> None:
    shop.put(FIRST)
    shop.put(THIRD, SECOND)
    assert f"the release {SECOND}, which was current before {THIRD}, is gone" in shop.refusal("rollback")
    assert shop.current() == THIRD


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        json.dumps({"release_id": "gone"}),
        json.dumps({"release_id": THIRD, "earlier": [{"release_id": SECOND}]}),
        json.dumps({"release_id": THIRD, "earlier": [{"release_id": SECOND, "until": "2020-11-20T02:00:00"}]}),
        json.dumps({"release_id": THIRD, "earlier": "nothing"}),
    ],
    ids=["gone", "empty", "list", "release gone", "no time", "time without a zone", "no history"],
)
def test_rollback_mends_a_damaged_pointer(shop: Shop, content: str | None) -> None:
    shop.three()
    unfinished = shop.warehouse.path / "releases" / "20201124T020000.000000Z-eeeeee"
    unfinished.mkdir()
    shop.pointer.unlink() if content is None else shop.pointer.write_text(content)
    assert str(shop.pointer) in shop.refusal("rollback")
    assert str(shop.pointer) in shop.refusal("clean", "--keep", "1")
    assert shop.ids() == [FIRST, SECOND, THIRD]
    shop.run("rollback", SECOND)
    assert shop.current() == SECOND
    assert shop.run("rollback") == [f"rolled back from {SECOND} to {FIRST}"]
    assert not unfinished.exists()  # it is known again what is live


def test_damaged_or_refused_release_cannot_become_current(shop: Shop) -> None:
    shop.three()[0].record_path.write_text("{")
    shop.refuse("20201123T020000.000000Z-dddddd")
    assert "cannot be read" in shop.refusal("rollback", FIRST)
    assert "there is no release" in shop.refusal("rollback", "20201123")
    assert shop.current() == THIRD


def test_rollback_waits_for_no_other_writer(shop: Shop) -> None:
    shop.three()
    with lock.hold(shop.warehouse.path, 60):
        assert shop.refusal("rollback", code=1).startswith("LockError: ")
        assert len(shop.run("list")) == 5  # reading needs no lock
    assert shop.current() == THIRD


def test_rollback_leaves_the_pointer_where_the_symlink_cannot_be_swapped(shop: Shop) -> None:
    shop.three()
    link = shop.warehouse.path / "current"
    link.unlink()
    link.mkdir()
    assert "is not the symlink" in shop.refusal("rollback")
    assert json.loads(shop.pointer.read_text())["release_id"] == THIRD


# ---- clean


NOW = ("--set", "warehouse.grace=0")


def test_clean_keeps_the_newest_and_says_what_went(shop: Shop) -> None:
    shop.three()
    title, *lines = shop.run(*NOW, "clean", "--keep", "2")
    assert title.startswith("1 removed, ")
    assert lines == [f"removed  {FIRST}", f"kept     {SECOND}  of the 2 newest", f"kept     {THIRD}  current"]
    assert shop.ids() == [SECOND, THIRD]
    assert list((shop.warehouse.path / "work").iterdir()) == []


def test_clean_for_a_program_names_what_went_and_why_the_rest_stays(shop: Shop) -> None:
    shop.three()
    found = shop.json(*NOW, "clean", "--keep", "2")
    assert list(found) == documented("releases clean")
    assert found["removed"] == [FIRST]
    assert found["kept"] == [
        {"release_id": SECOND, "reason": "of the 2 newest"},
        {"release_id": THIRD, "reason": "current"},
    ]
    assert found["freed_bytes"] > 0


@pytest.mark.parametrize("keep", ["3", "4", "5", "100"])
def test_clean_that_may_keep_more_than_there_are_removes_none(shop: Shop, keep: str) -> None:
    shop.three()
    assert shop.run(*NOW, "clean", "--keep", keep)[0] == "0 removed, 0 B freed"
    assert shop.ids() == [FIRST, SECOND, THIRD]


def test_clean_keeps_the_current_release_however_old_and_what_readers_may_hold(shop: Shop) -> None:
    shop.three()
    shop.run("rollback", FIRST)
    lines = shop.run("clean", "--keep", "1")
    assert [line.split()[1] for line in lines[1:]] == [FIRST, SECOND, THIRD]
    # The first was current until the second came, and is so again; the third is the newest and was current as well.
    assert [line.split("  ")[-1].partition(" 20")[0] for line in lines[1:]] == [
        "current",
        "current until",
        "of the 1 newest",
    ]
    assert lines[2].endswith(", within warehouse.grace")
    assert f"removed  {SECOND}" in shop.run(*NOW, "clean", "--keep", "1")
    assert shop.ids() == [FIRST, THIRD]


def test_history_that_names_removed_releases_harms_nobody(shop: Shop) -> None:
    shop.three()
    shop.run(*NOW, "clean", "--keep", "1")
    assert len(shop.run("list")) == 3
    assert "is gone" in shop.refusal("rollback")
    shop.run(*NOW, "clean", "--keep", "1")
    fourth = "20201123T020000.000000Z-dddddd"
    shop.put(fourth, THIRD)
    shop.run("rollback")
    pointer = shop.warehouse.pointer()
    assert pointer is not None
    assert [former.release_id for former in pointer.earlier] == [fourth]


def test_bytes_that_another_release_still_has_are_not_freed(shop: Shop) -> None:
    """Two removed releases share one file, which counts once; another one they share with the release that stays."""
    first, second, third = shop.three()
    mine, shared, everywhere = (first.root / name for name in ("mine", "shared", "everywhere"))
    mine.write_bytes(b"x" * 1_000_000)
    shared.write_bytes(b"x" * 20_000_000)
    everywhere.write_bytes(b"x" * 300_000)
    os.link(shared, second.root / "shared")
    os.link(everywhere, third.root / "everywhere")
    assert shop.run(*NOW, "clean", "--keep", "1")[0] == "2 removed, 21 MB freed"


@pytest.mark.parametrize("keep", ["0", "-1"])
def test_clean_keeps_at_least_one(shop: Shop, keep: str) -> None:
    shop.three()
    code, _, err = shop.outcome(*NOW, "clean", "--keep", keep)
    assert code == 2
    assert "--keep" in err
    assert shop.ids() == [FIRST, SECOND, THIRD]


# ---- diff


def test_diff_prints_counts_and_five_examples_of_each_kind(spark: SparkSession, shop: Shop) -> None:
    items = {letter: f"{letter}{'0' * 63}" for letter in "abcdefgh"}
    old, new = ReleaseFolder(shop.folder / "old"), ReleaseFolder(shop.folder / "new")
    fill(old, items, {"a": "bcdefgh", "b": "ac"})
    fill(new, dict.fromkeys("abcdefghij", "9" * 64), {"a": "ij", "b": "ca"})
    records.write_record(old, config={"similar": {"k": 2}})
    records.write_record(new, "old", config={"similar": {"k": 7, "eligible": "stock > 0"}})
    found = release_diff.compare(spark, old, new)
    printed = json.loads(json.dumps(found.as_json()))
    assert list(printed) == documented("releases diff")
    assert (printed["old"], printed["new"], printed["in_both"], printed["pictures"]) == ("old", "new", 8, 8)
    assert printed["settings"] == {
        "similar.k": {"before": 2, "after": 7},
        "similar.eligible": {"before": None, "after": "stock > 0"},
    }
    assert printed["neighbour_examples"][1] == {"item_id": "b", "went": [], "came": []}
    found.print()
    lines = [line.strip() for line in shop.capsys.readouterr().out.splitlines() if line.strip()]
    assert lines == [
        "From old to new, 8 items in both",
        "similar.k: 2 -> 7",
        "similar.eligible: - -> stock > 0",
        "Items added: 2",
        "i",
        "j",
        "Items removed: 0",
        "Items whose picture changed: 8",
        *(f"{letter}: {letter}000000000000000 -> 9999999999999999" for letter in "abcde"),
        "Items whose neighbours changed: 2",
        "a: went b, c, d, e, f and 2 more; came i, j",
        "b: the same in another order",
    ]


@pytest.mark.parametrize("part", ["embeddings", "failures", "similar_items"])
@pytest.mark.parametrize("how", ["gone", "garbage"])
def test_diff_with_a_damaged_release_is_one_error(spark: SparkSession, shop: Shop, part: str, how: str) -> None:
    first, _, third = shop.three()
    file = first.root / part / "part-0.parquet"
    if how == "garbage":
        file.write_bytes(b"garbage")
    else:
        file.unlink()
        file.parent.rmdir()
    with pytest.raises(WarehouseError, match="is damaged") as raised:
        release_diff.compare(spark, first, third)
    assert str(first.root) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_diff_of_a_release_with_itself_is_refused(shop: Shop) -> None:
    shop.three()
    assert "both are the release" in shop.refusal("diff", FIRST, "20201120")


# ---- the script


@pytest.fixture
def script(shop: Shop) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The job by plain Python, where no Spark can be started: its home is an empty folder."""
    home = shop.folder / "no-spark"
    home.mkdir()
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK", "JAVA"))}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(JOB), "--config", str(shop.config), *words]
        env = {**bare, "SPARK_HOME": str(home)}
        return subprocess.run(command, env=env, cwd=shop.folder, capture_output=True, text=True, check=False)

    return run


def test_all_commands_but_diff_work_where_no_spark_can_start(
    shop: Shop, script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    shop.three()
    for words in (["list"], ["show"], ["rollback"], ["clean", "--keep", "1"]):
        done = script(*words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert SECOND in done.stdout
    assert shop.current() == SECOND
    done = script("diff", FIRST, SECOND)
    assert done.returncode == 1
    assert "no-spark" in done.stderr  # so the others cannot have started it


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["clean"], ["clean", "--keep", "many"], ["diff", "2020"]], ids=" ".join
)
def test_command_line_that_is_not_one_ends_with_2(shop: Shop, words: list[str]) -> None:
    assert shop.outcome(*words)[0] == 2


@pytest.mark.parametrize("command", ["publish", "publish-views"])
def test_publish_without_anything_to_publish_to_is_an_error_of_one_line(shop: Shop, command: str) -> None:
    shop.put(FIRST)
    assert shop.refusal(command).startswith("ConfigError: publish.* names nothing that shows a release; set ")
