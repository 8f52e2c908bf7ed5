"""Gates by hand-computed numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from lookalike import config
from lookalike.quality import gates
from lookalike.warehouse.record import Figures, Gate, GroupRecall

Build = Callable[..., config.Settings]


def figures(items: int, failed: int, recall: float) -> Figures:
    """Figures measured on all items: the interval is the recall itself."""
    return Figures(
        items=items,
        embedded=items - failed,
        failed=failed,
        failed_by_reason={"corrupt": failed} if failed else {},
        similar_items=0,
        recall=recall,
        recall_sample=10,
        recall_low=recall,
        recall_high=recall,
        recall_pairs=100,
        recall_missed=int(recall != 1),
    )


GATES = [
    # items, failed, recall, limit, floor, failed share, gates passed
    (100, 0, 1.0, 0.05, 0.99, 0.0, (True, True)),
    (100, 5, 0.99, 0.05, 0.99, 0.05, (True, True)),  # both exactly at their bound
    (20, 1, 0.99, 0.05, 0.99, 0.05, (True, True)),
    (100, 6, 0.99, 0.05, 0.99, 0.06, (False, True)),
    (100, 5, 0.98999, 0.05, 0.99, 0.05, (True, False)),
    (100, 100, 0.0, 0.05, 0.99, 1.0, (False, False)),
    (100, 100, 0.0, 1.0, 0.0, 1.0, (True, True)),  # nothing is asked
    (1, 0, 1.0, 0.0, 1.0, 0.0, (True, True)),  # everything is asked, and met
    (10_000_000, 1, 0.99999, 0.0, 1.0, 1e-7, (False, False)),
]


@pytest.mark.parametrize(("items", "failed", "recall", "limit", "floor", "share", "passed"), GATES)
def test_gates_pass_at_their_bound_and_not_beyond(
    settings: Build,
    items: int,
    failed: int,
    recall: float,
    limit: float,
    floor: float,
    share: float,
    passed: tuple[bool, bool],
) -> None:
    chosen = settings(gates={"max_failed_share": limit}, similar={"recall_floor": floor})
    found = {gate.key: gate for gate in gates.gates(figures(items, failed, recall), chosen)}
    failures, floor_kept = found.pop("gates.max_failed_share"), found.pop("similar.recall_floor")
    assert (failures.figure, failures.direction, failures.bound, failures.passed) == (
        share,
        "at_most",
        limit,
        passed[0],
    )
    assert (floor_kept.figure, floor_kept.direction, floor_kept.bound) == (recall, "at_least", floor)
    assert floor_kept.passed == passed[1]
    assert all(gate.passed for gate in found.values())


def changed(found: Figures, **counts: Any) -> Figures:
    return found.model_copy(update=counts)


def gate(found: Figures, settings: config.Settings, name: str) -> Gate:
    """The gate of that key."""
    (one,) = (gate for gate in gates.gates(found, settings) if gate.key.endswith(f".{name}"))
    return one


MORE_GATES = [
    # gate, limit, figures, figure expected, passed
    ("max_items_lost", 0.5, {"items_before": None}, 0.0, True),  # the first release
    ("max_items_lost", 0.0, {"items_before": 100}, 0.0, True),
    ("max_items_lost", 0.0, {"items_before": 99}, 0.0, True),  # the catalogue grew
    ("max_items_lost", 0.0, {"items_before": 101}, 1 / 101, False),
    ("max_items_lost", 0.5, {"items_before": 200}, 0.5, True),
    ("max_items_lost", 0.5, {"items_before": 201}, 101 / 201, False),
    ("max_items_lost", 0.3, {"items_before": 100, "items": 70}, 0.3, True),  # 1 - 70 / 100 is a little more
    ("max_items_lost", 1.0, {"items_before": 100, "items": 0}, 1.0, True),
    ("max_items_lost", 0.0, {"items_before": 0, "items": 0}, 0.0, True),
    ("max_unusable_vectors", 0.0, {"unusable_vectors": 0}, 0.0, True),
    ("max_unusable_vectors", 0.0, {"unusable_vectors": 1}, 1 / 90, False),
    ("max_unusable_vectors", 0.1, {"unusable_vectors": 9}, 0.1, True),
    ("max_duplicate_vectors", 0.5, {"duplicate_vectors": 45}, 0.5, True),
    ("max_duplicate_vectors", 0.5, {"duplicate_vectors": 46}, 46 / 90, False),
    ("max_neighbour_churn", 0.0, {"churn_checked": 50, "churn_moved": 0}, 0.0, True),
    ("max_neighbour_churn", 0.0, {"churn_checked": 50, "churn_moved": 1}, 0.02, False),
    ("max_neighbour_churn", 0.02, {"churn_checked": 50, "churn_moved": 1}, 0.02, True),
    ("max_neighbour_churn", 0.0, {"churn_checked": 0, "churn_moved": 0}, 0.0, True),
    ("max_without_neighbours", 0.5, {"without_neighbours": 45}, 0.5, True),
    ("max_without_neighbours", 0.5, {"without_neighbours": 46}, 46 / 90, False),
    ("max_without_neighbours", 0.5, {"embedded": 1, "without_neighbours": 1}, 1.0, False),
    ("max_short_lists", 0.0, {"short_lists": 1, "recall_sample": 256}, 0.00390625, False),
    ("max_short_lists", 0.0, {}, 0.0, True),
    ("max_hub", 50.0, {"hub_recommended": 250}, 50.0, True),  # k is 5
    ("max_hub", 50.0, {"hub_recommended": 251}, 50.2, False),
    ("max_hub", 1.0, {"hub_recommended": 0}, 0.0, True),
]


@pytest.mark.parametrize(("name", "limit", "changes", "figure", "passed"), MORE_GATES)
def test_gate_by_hand(
    settings: Build, name: str, limit: float, changes: dict[str, int | None], figure: float, passed: bool
) -> None:
    """100 items, 90 of them embedded, but for what is changed."""
    found = figures(100, 10, 1.0).model_copy(update=changes)
    one = gate(found, settings(gates={name: limit}, similar={"k": 5}), name)
    assert (one.figure, one.bound, one.passed) == (pytest.approx(figure, abs=1e-12), limit, passed)


def test_gates_of_loss_and_hub_show_their_figures(settings: Build) -> None:
    found = changed(figures(1000, 0, 1.0), items_before=4000, hub_item="sock-7", hub_recommended=600)
    chosen = settings(similar={"k": 5})
    lost, hub = (gate(found, chosen, name).line() for name in ("max_items_lost", "max_hub"))
    assert lost.startswith("gates.max_items_lost: 0.7500, at most 0.5: REFUSED (4,000 before, 1,000 now); check that")
    assert hub.startswith("gates.max_hub: 120.0000, at most 50: REFUSED (item sock-7 is in 600 lists); look at")


def test_gate_of_failures_says_why_they_failed_and_names_one(settings: Build) -> None:
    spoiled = changed(figures(10, 4, 1.0), failed_example="a.jpg: corrupt, broken data stream")
    line = gate(spoiled, settings(), "max_failed_share").line()
    assert "REFUSED (corrupt 4; for example a.jpg: corrupt, broken data stream); repair the pictures" in line


def test_recall_that_is_no_number_is_refused(settings: Build) -> None:
    assert not gate(figures(10, 0, math.nan), settings(), "recall_floor").passed


RECALLS = [
    # low, missed, passed, of the detail
    (0.99, 3, True, "estimate 0.9950, 95 % interval 0.9900 to 0.9990 on 200 of 1,000 items; worst group 'x' 0.9700"),
    (0.9899, 3, False, "; worst group 'x' 0.9700); a larger similar.recall_sample may prove it"),
    (0.9, 0, False, "a larger"),  # the estimate has misses, whatever is told of them
]


@pytest.mark.parametrize(("low", "missed", "passed", "detail"), RECALLS)
def test_floor_is_compared_with_the_lower_end_of_the_interval(
    settings: Build, low: float, missed: int, passed: bool, detail: str
) -> None:
    worst = GroupRecall(group="x", sampled=5, items=7, estimate=0.97, low=0.8, high=0.99)
    found = changed(
        figures(1000, 0, 0.995),
        recall_sample=200,
        recall_low=low,
        recall_high=0.999,
        recall_missed=missed,
        recall_groups=(worst, worst.model_copy(update={"group": None, "estimate": 0.98})),
    )
    one = gate(found, settings(), "recall_floor")
    assert (one.figure, one.bound, one.passed) == (low, 0.99, passed)
    assert detail in one.line()


def test_floor_that_no_sample_can_prove_is_passed_only_without_a_miss(settings: Build) -> None:
    perfect = changed(figures(10**6, 0, 1.0), recall_sample=4096, recall_low=0.99995)
    chosen = settings(similar={"recall_floor": 1.0})
    assert gate(perfect, chosen, "recall_floor").passed
    missed = changed(perfect, recall=1.0, recall_missed=1)  # 0.999996, rounded
    assert not gate(missed, chosen, "recall_floor").passed


@pytest.mark.parametrize(
    ("plan", "advice"),
    [("auto", "set similar.plan: exact, or a lower similar.recall_floor"), ("exact", "the table is damaged")],
)
def test_refused_recall_says_what_to_do(settings: Build, plan: str, advice: str) -> None:
    group = (GroupRecall(group=None, sampled=5, items=7, estimate=0.5, low=0.3, high=0.7),)
    found = gate(changed(figures(9, 0, 0.5), recall_groups=group), settings(similar={"plan": plan}), "recall_floor")
    assert found.line().endswith(advice)
    assert "worst group without a value 0.5000" in found.line()


def test_gates_of_no_items_do_not_divide_by_zero(settings: Build) -> None:
    assert all(gate.passed for gate in gates.gates(figures(0, 0, 1.0), settings()))


def test_every_gate_says_what_to_do_when_it_refuses(settings: Build) -> None:
    nothing_allowed = dict.fromkeys(config.GateSettings.model_fields, 0) | {"max_hub": 1}
    bad = changed(
        figures(100, 50, 0.5),
        items_before=1000,
        unusable_vectors=5,
        duplicate_vectors=5,
        without_neighbours=5,
        short_lists=5,
        churn_checked=5,
        churn_moved=5,
        hub_item="i",
        hub_recommended=1000,
    )
    found = gates.gates(bad, settings(gates=nothing_allowed))
    assert [gate.key for gate in found if gate.passed] == []
    assert {gate.key for gate in found} == {*(f"gates.{key}" for key in nothing_allowed), "similar.recall_floor"}
    for gate in found:
        assert gate.advice
        assert gate.line().endswith(f"; {gate.advice}")
        assert "\n" not in gate.line()
