"""What one would write instead: Daft reads and decodes, OpenVINO embeds, faiss finds, Parquet holds the tables.

It has no night of its own: whatever changed, everything is done again. The model is the job's, compiled before.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# ruff: noqa: E402
# To ask whether a value is a tensor, Daft would import TensorFlow for 6 s, which is here for the job's compiler alone.
sys.modules["tensorflow"] = None  # type: ignore[assignment]

import contender
import daft
import faiss
import numpy as np
import openvino
import openvino_ceiling
import pyarrow as pa
import pyarrow.parquet as pq
from daft import DataType
from daft.functions import decode_image, download, resize
from numpy.typing import NDArray

import neighbours

K = 20

# Up to here exact, above by inverted lists, as faiss's own guide says.
EXACT = 20_000

# Of sqrt(n) lists, those that a query looks into: recall 0.992 of 100,000 mixed vectors, 0.978 with 4, 0.997 with 16.
PROBES = 8

# Pictures that the network gets at a time.
PICTURES = 256

# Queries whose lists are compared with the exact ones.
SAMPLE = 256


@daft.cls(max_concurrency=1)
class Embedder:
    """One network on all cores, asked for throughput; requests follow each other without a pause."""

    def __init__(self, task: contender.Task) -> None:
        self.queue = openvino.AsyncInferQueue(openvino_ceiling.compiled(task))
        self.queue.set_callback(self._keep)
        self.size = task.input_size
        self.features = np.empty((0, 0, 0), np.float32)

    @daft.method.batch(return_dtype=DataType.list(DataType.float32()), batch_size=PICTURES)
    def embed(self, images: daft.Series) -> pa.Array:
        """RGB pictures of the input's size -> features of unit length."""
        pixels = images.to_arrow().storage.flatten().to_numpy().reshape(-1, self.size, self.size, 3)
        batches = openvino_ceiling.batches(pixels, self.queue[0].get_input_tensor().shape[0])
        self.features = np.empty((len(batches), *self.queue[0].get_output_tensor().shape), np.float32)
        for number, batch in enumerate(batches):
            self.queue.start_async(batch, number)
        self.queue.wait_all()
        vectors = self.features.reshape(-1, self.features.shape[-1])[: len(pixels)]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ends = np.arange(len(vectors) + 1, dtype=np.int64) * vectors.shape[1]
        return pa.LargeListArray.from_arrays(ends, vectors.ravel())

    def _keep(self, request: openvino.InferRequest, number: int) -> None:
        self.features[number] = request.get_output_tensor().data


def measure(task: contender.Task) -> dict:
    start = time.perf_counter()
    work = Path(task.work) / "peer"
    write_embeddings(task, work / "embeddings")
    embedded = time.perf_counter() - start
    recall = write_neighbours(work, task.cores)
    done = time.perf_counter() - start
    return {
        **contender.speeds(task, time.time() - task.started, done),
        "embed_seconds": round(embedded, 1),
        "neighbours_seconds": round(done - embedded, 1),
        "recall": recall,
    }


def write_embeddings(task: contender.Task, table: Path) -> None:
    """From the catalogue to item_id and embedding."""
    size = task.input_size
    items = daft.read_parquet(f"{task.catalogue}/catalogue.parquet")
    pictures = decode_image(download(daft.lit(f"{task.catalogue}/") + daft.col("image_path")), mode="RGB")
    images = resize(pictures, size, size).cast(DataType.image("RGB", size, size))
    embedding = Embedder(task).embed(daft.col("image")).alias("embedding")
    items.select("item_id", images.alias("image")).select("item_id", embedding).write_parquet(str(table))


def write_neighbours(work: Path, cores: int) -> float:
    """From item_id and embedding to item_id, rank, similar_item_id and score; return the recall of a sample."""
    faiss.omp_set_num_threads(cores)
    table = pq.read_table(work / "embeddings").combine_chunks()
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    exact = faiss.IndexFlatIP(vectors.shape[1])
    index = exact if len(vectors) <= EXACT else by_lists(vectors, exact)
    index.add(vectors)
    scores, found = index.search(vectors, K + 1)
    # The item itself, where it was found, behind the others, which keep their order.
    order = np.argsort(found == np.arange(len(found))[:, None], axis=1, kind="stable")[:, :K]
    scores, found = (np.take_along_axis(of, order, axis=1) for of in (scores, found))
    ids = table["item_id"].combine_chunks()
    columns = {
        "item_id": ids.take(pa.array(np.repeat(np.arange(len(ids)), K))),
        "rank": np.tile(np.arange(1, K + 1, dtype=np.int32), len(ids)),
        "similar_item_id": ids.take(pa.array(found.ravel())),
        "score": scores.ravel(),
    }
    pq.write_table(pa.table(columns), work / "similar_items.parquet")
    return sampled_recall(vectors, found)


def by_lists(vectors: NDArray[np.float32], coarse: faiss.IndexFlatIP) -> faiss.IndexIVFFlat:
    """An index of as many lists as the square root of the items."""
    index = faiss.IndexIVFFlat(coarse, vectors.shape[1], round(len(vectors) ** 0.5), faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.nprobe = PROBES
    return index


def sampled_recall(vectors: NDArray[np.float32], found: neighbours.Rows) -> float:
    """Compare with the exact neighbours of a few items."""
    chosen = np.random.default_rng(0).choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)
    scores = vectors[chosen] @ vectors.T
    scores[np.arange(len(chosen)), chosen] = -np.inf
    truth = np.argpartition(scores, -K, axis=1)[:, -K:]
    return round(neighbours.recall(found[chosen], truth), 4)


if __name__ == "__main__":
    contender.main(measure)
