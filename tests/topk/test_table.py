"""Tables of the k best candidates: merged, filled up and cut."""

from __future__ import annotations

import numpy as np

from lookalike.topk.table import TopK, append_top_k, empty_top_k, merge_top_k, scatter_top_k, stack_top_k
from support.ranking import names, ranked, top_k


def test_merge_keeps_the_better_of_two_and_the_smaller_id_of_equals() -> None:
    left = top_k(np.array([[b"b", b"c", b""]]), np.array([[0.5, 0.25, -np.inf]], np.float32))
    right = top_k(np.array([[b"a", b"d"]]), np.array([[0.5, -1.0]], np.float32))
    for merged in (merge_top_k(left, right), merge_top_k(empty_top_k(1, 3, left.ids), left)):
        assert merged.ids.shape == merged.scores.shape == (1, 3)
    assert ranked(merge_top_k(left, right)) == [[(b"a", 0.5), (b"b", 0.5), (b"c", 0.25)]]
    assert ranked(merge_top_k(right, left)) == [[(b"a", 0.5), (b"b", 0.5)]]
    assert ranked(merge_top_k(empty_top_k(1, 3, left.ids), left)) == ranked(left)


def test_merge_of_nothing_with_nothing_is_nothing() -> None:
    empty = empty_top_k(2, 3, names(1))
    assert ranked(merge_top_k(empty, empty)) == [[], []]


def table(ids: list[bytes], variants: list[int], duplicates: list[int], scores: list[float]) -> TopK:
    """The candidates of one query."""
    return TopK(np.array([ids]), np.array([scores], np.float32), np.array([variants]), np.array([duplicates]))


NONE = -np.inf


def test_short_list_is_filled_up_in_its_order_whatever_the_scores() -> None:
    narrow = table([b"a", b"", b"", b""], [1, 0, 0, 0], [1, 0, 0, 0], [0.1, NONE, NONE, NONE])
    wide = table([b"b", b"c", b"d", b"e"], [2, 3, 4, 5], [2, 3, 4, 5], [0.9, 0.8, 0.7, 0.6])
    assert append_top_k(narrow, wide).ids[0].tolist() == [b"a", b"b", b"c", b"d"]


def test_only_the_first_of_a_variant_group_and_of_a_duplicate_group_stays() -> None:
    found = table([b"a", b"b", b"c", b"d"], [1, 1, 2, 3], [5, 6, 5, 7], [0.9, 0.8, 0.7, 0.6])
    assert ranked(found.first_of_each_group(3)) == [[(b"a", np.float32(0.9)), (b"d", np.float32(0.6))]]
    assert found.first_of_each_group(3).scores.shape == (1, 3)
    assert found.counts.tolist() == [4]


def test_candidates_are_sorted_by_score_and_then_by_id() -> None:
    found = table([b"b", b"c", b"a", b"d"], [1, 2, 3, 4], [1, 2, 3, 4], [0.5, 0.75, 0.5, NONE])
    assert [item for item, _ in ranked(found.in_order())[0]] == [b"c", b"a", b"b"]
    assert [item for item, _ in ranked(found.without(found.ids == b"c"))[0]] == [b"a", b"b"]


def test_candidates_rank_behind_the_last_of_another_list_by_score_and_id() -> None:
    found = table([b"a", b"b", b"c"], [1, 2, 3], [1, 2, 3], [0.75, 0.5, 0.25])
    last = table([b"x", b"a", b""], [4, 5, 0], [4, 5, 0], [0.9, 0.5, NONE])
    assert found.ranks_behind(last).tolist() == [[False, True, True]]
    assert found.ranks_behind(empty_top_k(1, 3, last.ids)).all()


def test_tables_of_some_queries_are_put_into_one_of_all() -> None:
    one, other = table([b"a"], [1], [1], [0.5]), table([b"bb", b"c"], [2, 3], [2, 3], [0.75, 0.25])
    whole = scatter_top_k(3, [(np.array([2]), one), (np.array([0]), other)])
    assert ranked(whole) == [[(b"bb", 0.75), (b"c", 0.25)], [], [(b"a", 0.5)]]
    assert ranked(stack_top_k([whole.take(slice(2, 3)), whole.take(slice(0, 1))])) == [
        ranked(whole)[2],
        ranked(whole)[0],
    ]
    assert ranked(whole.cut(1)) == [[(b"bb", 0.75)], [], [(b"a", 0.5)]]
