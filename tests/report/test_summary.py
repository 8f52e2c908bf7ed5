"""The closing lines of a run."""

from __future__ import annotations

from pathlib import Path

from lookalike.report import summary
from lookalike.warehouse.record import PicturesRecord
from support.small_release import make_record


def test_closing_lines_say_how_sure_the_recall_is(tmp_path: Path) -> None:
    assert "recall 0.9951 (0.9912 to 0.9980) on 3 items" in summary.summary(make_record(tmp_path), str(tmp_path))[1]


def test_pictures_per_second_of_a_step_that_took_no_time(tmp_path: Path) -> None:
    record = make_record(tmp_path, seconds={"read": 1.0, "embed": 0.0})
    assert summary.pictures_per_second(record) == 2000


def test_summary_says_what_failed_and_where_it_is(tmp_path: Path) -> None:
    first, *_, last = summary.summary(make_record(tmp_path), "/warehouse/current")
    assert first == "3 of 4 items have an embedding, 2 embedded by this run, 1 pictures/s; 1 failed (not_found 1)"
    assert last == "published: /warehouse/current"


def test_run_that_embedded_nothing_names_no_speed(tmp_path: Path) -> None:
    record = make_record(tmp_path, pictures=PicturesRecord(read=1, embedded=0))
    first = summary.summary(record, "/warehouse/current")[0]
    assert first == "3 of 4 items have an embedding, 0 embedded by this run; 1 failed (not_found 1)"


def test_run_of_a_version_that_counted_no_pictures_embedded_all_items(tmp_path: Path) -> None:
    record = make_record(tmp_path, pictures=None)
    assert summary.embedded(record) == record.counts.embedded
