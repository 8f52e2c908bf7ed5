"""Releases to ask that no run has made: an index alone, or a warehouse with tables and a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike import config
from lookalike.images.decoder import Decoder
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.index.items import write_items
from lookalike.models import runtime
from lookalike.models import store as model_store
from lookalike.models.network import CompiledModel
from lookalike.serving.shard import Neighbour
from lookalike.topk.items import unit_length
from lookalike.warehouse.pointer import Pointer
from lookalike.warehouse.release import ReleaseFolder
from support import records

DIMENSIONS = 8

# Cosines in float32 and float64 differ by less.
NOISE = 1e-5


@dataclass(frozen=True)
class ShardItems:
    """The items of one shard: with `eligible` and `deleted`, which may be returned and which are tombstones."""

    group: str | None
    ids: Sequence[str]
    vectors: np.ndarray
    eligible: Sequence[bool] | None = None
    deleted: Sequence[bool] | None = None


def units(count: int, seed: int = 1, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def names(count: int, prefix: str = "item") -> list[str]:
    """Ids in their order."""
    return [f"{prefix}-{n:03d}" for n in range(count)]


def write_release(root: Path, *parts: ShardItems) -> Path:
    """A release of no more than an index and a record that lists no files."""
    index = root / "index"
    index.mkdir(parents=True)
    shards = []
    for number, part in enumerate(parts):
        stem = f"shard-{number:05d}"
        file = annoy_index.build(index / f"{stem}.ann", part.vectors, trees=5, seed=3)
        live = np.ones(len(part.ids), dtype=bool) if part.deleted is None else ~np.array(part.deleted)
        eligible = np.ones(len(part.ids), dtype=bool) if part.eligible is None else np.array(part.eligible)
        columns = {"item_id": part.ids, "deleted": ~live, "eligible": eligible, "list": np.zeros(len(live), np.int32)}
        codes = {"variant_group": np.arange(len(live)), "group_codes": [[0]] * len(live)}
        write_items(index / f"{stem}.items.parquet", pa.table({**columns, **codes}))
        shards.append(
            manifest.ManifestShard(
                file=f"{stem}.ann",
                items_file=f"{stem}.items.parquet",
                group=part.group,
                delta=False,
                items=file.items,
                live=int(live.sum()),
                candidates=int((live & eligible).sum()),
                bytes=file.bytes,
                sha256=file.sha256,
                ids_sha256=manifest.ids_digest(part.ids),
                golden=file.golden,
            )
        )
    dimensions = parts[0].vectors.shape[1] if parts else None
    group_by = "kind" if any(part.group for part in parts) else None
    groups = [
        manifest.ManifestGroup(group=group, centroids_file=None, lists=1)
        for group in dict.fromkeys(part.group for part in parts)
    ]
    whole = manifest.Manifest(
        dimensions=dimensions,
        trees=5,
        seed=3,
        group_by=group_by,
        next_shard=len(shards),
        groups=tuple(groups),
        shards=tuple(shards),
    )
    (index / manifest.NAME).write_text(whole.model_dump_json())
    records.write_unlisted_record(ReleaseFolder(root))
    return root


def write_warehouse(path: Path, model: CompiledModel, pictures: dict[str, Path]) -> Path:
    """A warehouse that answers all questions about `pictures`, by item: its current release is `r1`."""
    release, images = ReleaseFolder(path / "releases" / "r1"), config.ImageSettings()
    decoder, engine = Decoder(), runtime.load(model.engine, model.artefact)
    pixels = [decoder.decode(file.read_bytes(), model.input_size, images).pixels for file in pictures.values()]
    decoder.close()
    vectors, _ = unit_length(engine.embed(np.stack(pixels)))
    write_release(release.root, ShardItems(None, list(pictures), vectors))
    model_store.write(model, path / "models" / "one.json")
    settings = {"images": images.model_dump(mode="json"), "similar": {"k": 2}}
    counts = {**records.COUNTS, "items": len(pictures), "embedded": len(pictures), "failed": 1}
    counts["similar_items"] = 2 * len(pictures)
    _write_tables(release, list(pictures), vectors)
    records.write_record(release, model=model.record(), counts=counts, config=settings)
    (path / "CURRENT").write_bytes(Pointer(release_id="r1").as_json())
    return path


def _write_tables(release: ReleaseFolder, ids: list[str], vectors: np.ndarray) -> None:
    scores = vectors @ vectors.T - 2 * np.eye(len(ids), dtype=np.float32)
    best = np.argsort(-scores, axis=1)[:, :2]
    similar = [
        {"item_id": ids[item], "rank": rank, "similar_item_id": ids[other], "score": float(scores[item, other])}
        for item in range(len(ids))
        for rank, other in enumerate(best[item], 1)
    ]
    for folder, rows in (
        (release.similar_items, similar),
        (release.embeddings, [{"item_id": name, "image_path": f"{name}.jpg"} for name in ids]),
    ):
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet", write_page_checksum=True)
    release.failures.mkdir()
    failures = pa.table({"item_id": pa.array(["lost"]), "reason": pa.array(["not_found"])})
    pq.write_table(failures, release.failures / "part-0.parquet", write_page_checksum=True)


def assert_nearest(found: list[Neighbour], parts: Sequence[ShardItems], query: np.ndarray, k: int) -> None:
    """The k best eligible items by float64, in the total order of their scores."""
    unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    vectors = {
        item: vector
        for part in parts
        for item, vector, eligible, deleted in zip(
            part.ids,
            part.vectors,
            part.eligible or [True] * len(part.ids),
            part.deleted or [False] * len(part.ids),
            strict=True,
        )
        if eligible and not deleted
    }
    exact = {item: float(vector.astype(np.float64) @ unit) for item, vector in vectors.items()}
    assert len(found) == len({item for item, _ in found}) == min(k, len(exact))
    assert found == sorted(found, key=lambda neighbour: (-neighbour.score, neighbour.item_id))
    for item, score in found:
        assert abs(score - exact[item]) < NOISE
    taken = {item for item, _ in found}
    for item in exact.keys() - taken:
        assert exact[item] <= found[-1].score + NOISE
        last = found[-1].item_id
        assert not np.array_equal(vectors[item], vectors[last]) or item > last  # a tie is broken by id
