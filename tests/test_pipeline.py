"""What the run decides between its steps; the runs themselves are in e2e/."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark.sql import SparkSession

from lookalike import config, pipeline
from lookalike.errors import LockError
from lookalike.warehouse.local import Warehouse
from support.warehouses import publish, publish_refused


@pytest.mark.parametrize(
    ("gate", "damaged", "later", "expected"),
    [
        ("similar.recall_floor", False, False, True),
        ("gates.max_hub", False, False, False),
        ("gates.max_hub", True, False, True),  # it may have been the recall
        ("similar.recall_floor", False, True, False),  # a release has passed since
    ],
)
def test_release_that_was_refused_for_its_recall_is_known_until_another_is_published(
    tmp_path: Path, gate: str, damaged: bool, later: bool, expected: bool
) -> None:
    warehouse = Warehouse(str(tmp_path))
    publish(warehouse)
    release_id, _ = publish_refused(warehouse, gate)
    if damaged:
        (warehouse.path / "refused" / release_id / "refused.json").write_text("{")
    if later:
        publish(warehouse)
    run, before = SimpleNamespace(warehouse=warehouse), SimpleNamespace(release=warehouse.need_current())
    assert pipeline.refused_for_recall(run, before) == expected  # type: ignore[arg-type]


def test_run_waits_for_no_executor_while_another_run_holds_the_warehouse(tmp_path: Path, spark: SparkSession) -> None:
    settings = config.Settings.model_validate({"catalogue": {"path": "c.csv"}, "warehouse": {"path": str(tmp_path)}})
    with Warehouse(str(tmp_path)).writer(60), pytest.raises(LockError):
        pipeline.refresh(spark, settings, check_first=lambda: pytest.fail("it waited"))
