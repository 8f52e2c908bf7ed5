import os
from itertools import pairwise
from pathlib import Path

import memory
import mix
import mix_table
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_similar
import run
import run_similar
import scale
from pyspark.sql.pandas.types import to_arrow_schema

import neighbours

RESULTS = {
    10_000: {
        "numpy": {"recall": 1.0, "seconds": 4.0},
        "annoy, 50 trees": {"build_seconds": 4.0},
        "hnswlib": {"recall": 0.996, "build_seconds": 3.0, "query_seconds": 1.0, "seconds": 4.0},
        "lookalike kernel": {"seconds": 2.0},
        "lookalike through Spark": {"build_seconds": 6.0, "query_seconds": 3.0, "seconds": 9.0},
    },
    100_000: {
        "numpy": {"recall": 1.0, "seconds": 400.0},
        "hnswlib": {"error": "ended with code 1"},
        "lookalike kernel": {"seconds": 40.0},
    },
}


@pytest.fixture(scope="module")
def mixed() -> mix.Mix:
    """Of 60 originals: unit vectors of 16 values, a third of them zero."""
    originals = np.random.default_rng(1).random((60, 16), dtype=np.float32)
    originals[:, ::3] = 0
    return mix.Mix.of(originals / np.linalg.norm(originals, axis=1, keepdims=True))


def test_nearest_of_an_original_are_the_best_of_a_naive_loop(mixed):
    for row, original in enumerate(mixed.originals):
        scores = [(-float(original @ other), place) for place, other in enumerate(mixed.originals) if place != row]
        assert set(mixed.nearest[row]) == {place for _, place in sorted(scores)[: mix.NEAREST]}


def test_mixed_vectors_have_unit_length_keep_common_zeros_and_are_never_negative(mixed):
    block = mixed.block(0)
    assert block.shape == (mix.BLOCK, 16)
    assert block.dtype == np.float32
    assert np.allclose(np.linalg.norm(block, axis=1), 1, atol=1e-6)
    assert block.min() == 0
    assert not block[:, ::3].any()
    assert len(np.unique(block, axis=0)) == mix.BLOCK


def test_mix_is_repeatable_and_a_larger_one_begins_with_a_smaller(mixed, tmp_path):
    mixed.save(tmp_path / "mix.npz")
    again = mix.Mix.load(tmp_path / "mix.npz")
    small = np.load(mix.write(mixed, mix.BLOCK + 7, tmp_path / "small.npy"))
    large = np.load(mix.write(again, 2 * mix.BLOCK, tmp_path / "large.npy"))
    assert small.shape == (mix.BLOCK + 7, 16)
    assert np.array_equal(small, large[: len(small)])
    assert not np.array_equal(large[: mix.BLOCK], large[mix.BLOCK :])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.npy", "mix.npz", "small.npy"]


@pytest.mark.parametrize(("items", "groups", "largest"), [(1_000_000, 150, 60_000), (20_000, 150, 1200), (10, 1, 10)])
def test_group_sizes_fall_from_the_largest_and_add_up(items, groups, largest):
    sizes = mix_table.zipf_sizes(items, groups, largest)
    assert (len(sizes), sum(sizes)) == (groups, items)
    assert abs(sizes[0] - largest) <= 1
    assert min(sizes) >= 1
    assert all(second <= first + 1 for first, second in pairwise(sizes))  # but for rounding


def test_rows_of_mixed_vectors_are_an_embeddings_table_with_its_groups(mixed):
    items, sizes = mix.BLOCK + 20, [mix.BLOCK, 17, 3]
    rows = pa.Table.from_batches([batch for number in (0, 1) for batch in mix_table.block(mixed, number, sizes)])
    assert rows.schema.remove_metadata() == to_arrow_schema(mix_table.SCHEMA, timezone="UTC")
    vectors = rows["embedding"].combine_chunks().flatten().to_numpy().reshape(items, -1)
    assert np.array_equal(vectors, np.concatenate([block for _, block in mixed.blocks(items)]))
    assert np.array_equal(mix_table.rows(np.array(rows["item_id"].to_pylist(), dtype=np.bytes_)), np.arange(items))
    counted = {group["values"]: group["counts"] for group in rows[mix_table.GROUP].value_counts().to_pylist()}
    assert counted == {"group-000": mix.BLOCK, "group-001": 17, "group-002": 3}


def test_neighbours_of_a_table_are_put_at_their_ranks(tmp_path):
    named = [
        ("item-0000002", 2, "item-0000000"),
        ("item-0000002", 1, "item-0000001"),
        ("item-0000000", 1, "item-0000002"),
    ]
    columns = dict(zip(("item_id", "rank", "similar_item_id"), zip(*named, strict=True), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "part.parquet")
    assert mix_table.neighbours(tmp_path, items=3, k=2).tolist() == [[2, -1], [-1, -1], [1, 0]]


def test_recall_is_the_share_of_true_neighbours_found_and_counts_none_twice():
    truth = np.array([[1, 2], [0, 2], [0, 1]])
    found = np.array([[2, 1], [0, 0], [-1, -1]])
    assert neighbours.recall(found, truth) == pytest.approx((2 + 1 + 0) / 6)


def test_item_itself_is_removed_and_the_last_where_the_item_was_not_found():
    found = np.array([[0, 1, 2], [2, 1, 0], [0, 1, 3]])
    assert neighbours.without_self(found, 2).tolist() == [[1, 2], [2, 0], [0, 1]]


def test_blocks_are_joined_in_order():
    doubled = neighbours.search_blocks(lambda rows: np.arange(rows.start, rows.stop)[:, None] * 2, 7, 3, cores=2)
    assert doubled[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12]


def test_growth_is_the_exponent_between_two_sizes():
    assert report_similar.growth(RESULTS, "numpy", 10_000, 100_000) == 2.0
    assert report_similar.growth(RESULTS, "lookalike kernel", 10_000, 100_000) == pytest.approx(1.301)
    assert report_similar.growth(RESULTS, "hnswlib", 10_000, 100_000) is None  # it failed
    assert report_similar.growth(RESULTS, "lookalike through Spark", 10_000, 100_000) is None  # it did not run


def test_ratios_have_a_value_where_both_contenders_ran():
    values = {(ratio["what"], ratio["items"]): ratio["value"] for ratio in report_similar.ratios(RESULTS)}
    assert values["kernel over hnswlib", 10_000] == 0.5
    assert values["kernel over hnswlib", 100_000] is None
    assert values["Spark's step neighbours over the kernel", 10_000] == 1.5
    assert values["Spark's step index over plain Annoy's build", 10_000] == 1.5
    assert values["Spark's steps index and neighbours over hnswlib", 10_000] == 2.25
    assert values["growth of numpy", 100_000] == 2.0


def test_tables_leave_out_what_was_not_measured():
    header, first, *_ = report_similar.table(10_000, RESULTS[10_000]).splitlines()
    assert header.split()[:3] == ["10,000", "items", "recall"]
    assert first.split() == ["numpy", "1.0000", "4.0"]
    lines = [line.split() for line in report_similar.ratio_table(RESULTS).splitlines()]
    assert lines[0] == ["seconds", "over", "seconds", "10,000", "100,000"]
    assert ["kernel", "over", "hnswlib", "0.5"] in lines
    assert ["kernel", "over", "numpy", "0.5", "0.1"] in lines
    assert not any("faiss" in line for line in lines)


def test_brute_force_runs_first_where_its_answer_is_missing(tmp_path):
    (kernel,) = run.choose("kernel", run_similar.CONTENDERS)
    truth = tmp_path / "truth.npy"
    assert [one.name for one in run_similar.with_truth([kernel], truth)] == ["numpy", "kernel"]
    assert run_similar.with_truth(list(run_similar.CONTENDERS), truth) == list(run_similar.CONTENDERS)
    neighbours.save_truth(np.zeros((2, 2), dtype=np.int32), truth)
    assert run_similar.with_truth([kernel], truth) == [kernel]


def test_every_ratio_is_of_names_that_the_scripts_print():
    folder = Path(run_similar.__file__).parent
    scripts = "".join((folder / f"{one.script}.py").read_text() for one in run_similar.CONTENDERS)
    scripts = scripts.replace("{task.trees}", "50")
    named = {figure.contender for ratio in report_similar.RATIOS for figure in (ratio.figure, ratio.over) if figure}
    assert [name for name in named if f'"{name}"' not in scripts] == []


def test_sizes_are_numbers_with_commas_the_smallest_first():
    assert run_similar.sizes("30000,10000") == [10_000, 30_000]
    options = run_similar.arguments().parse_args(["--sizes", "500"])
    assert run_similar.settings(options)["sizes"] == [500]


def test_memory_of_a_tree_is_more_than_this_process_alone_and_its_own_part_less_than_all():
    with memory.watch_tree() as peak:
        kept = np.ones(4_000_000)
    whole, own = memory.proportional(os.getpid())
    assert peak.bytes >= peak.own > kept.nbytes
    assert whole > own


def test_disk_peak_is_the_most_that_was_there_and_a_file_with_two_names_counts_once(tmp_path):
    peak = scale.DiskPeak(tmp_path)
    (tmp_path / "one").write_bytes(os.urandom(200_000))
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    peak.look()
    (tmp_path / "one").unlink()
    (tmp_path / "two").unlink()
    peak.look()
    assert 200_000 <= peak.bytes < 300_000
