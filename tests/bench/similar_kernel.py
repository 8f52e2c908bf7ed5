"""Our search without Spark: the kernel over blocks of queries, a block a core."""

from __future__ import annotations

import mix_table
import neighbours
import numpy as np
from threadpoolctl import threadpool_limits

from lookalike import similar, vectors


def measure(task: neighbours.Task) -> dict:
    items, watch = task.load(), neighbours.Stopwatch()
    ids = np.array(mix_table.item_ids(0, task.items), dtype=np.bytes_)

    def search(rows: slice) -> vectors.Ids:
        return vectors.exact_top_k(items[rows], items, ids, task.k, np.arange(rows.start, rows.stop)).ids

    with threadpool_limits(1, "blas"), watch.measured():
        found = neighbours.search_blocks(search, task.items, similar.BLOCK_ROWS, task.cores)
    return {"lookalike kernel": neighbours.figures(task, 0.0, watch.seconds, mix_table.rows(found))}


if __name__ == "__main__":
    neighbours.main(measure)
