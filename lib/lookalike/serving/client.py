"""Ask a release from Python: its table of neighbours, or its Annoy index by vector or picture."""

from __future__ import annotations

import difflib
import heapq
import math
import operator
from os import PathLike
from typing import SupportsIndex

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import ArrayLike

from lookalike import config
from lookalike.errors import QueryError, WarehouseError
from lookalike.index import manifest
from lookalike.serving import tables
from lookalike.serving.embedder import PictureEmbedder
from lookalike.serving.lazy import lazy
from lookalike.serving.shard import Neighbour, SearchableShard, order
from lookalike.storage import prefix
from lookalike.topk.items import Vectors
from lookalike.warehouse import mirrored
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

# 16,384 vectors mixed from those of 5,959 photos, 50 trees: recall at 10 is 0.967 with 5,000, 0.981 with 10,000, 0.990
# with 20,000 (5,100 vectors are looked at: 10 ms, where a scan of all takes 19) and 0.992 with 40,000.
SEARCH_K = 20_000
# At k = 1,000 these would find 0.92.
SEARCH_K_PER_NEIGHBOUR = 100

# A vector this near to unit length is taken as it is: an item's own embedding then gets the scores of the table, to
# the last bit.
UNIT_NOISE = 1e-6


def open_release(path: str | PathLike[str], stores: config.StoreSettings | None = None) -> Release:
    """Open the current release of a warehouse, to ask it for similar items; raise WarehouseError.

    `path` is a warehouse, or the folder of one release. A warehouse in an object store, whose settings are `stores`, is
    first copied to this machine, its current release and its network. The release stays the same when a run publishes
    the next one.

        import lookalike

        release = lookalike.open_release("/data/lookalike")
        release.similar("item-1", k=10)
        release.search_image("photo.jpg", k=10, group="shoes")
    """
    if prefix.in_store(str(path)):
        return _download_and_open(str(path), stores or config.StoreSettings())
    folder = Warehouse(str(path)).path
    if not folder.is_dir():
        raise WarehouseError(f"{path}: no such folder; give a warehouse, or the folder of a release")
    given = ReleaseFolder(folder.resolve())
    release = given if given.record_path.is_file() else Warehouse(str(path)).need_current()
    return Release(ReleaseFolder(release.root.resolve()))


def _download_and_open(uri: str, stores: config.StoreSettings, release_id: str | None = None) -> Release:
    """Open a release of a warehouse in an object store; the current one where none is named."""
    warehouse = mirrored.at(config.WarehouseSettings(path=uri), stores)
    release = warehouse.find(release_id) if release_id else warehouse.need_current()
    warehouse.fetch(release)
    return Release(ReleaseFolder(release.root.resolve()), (uri, stores))


class Release:
    """A release that answers questions; `open_release` makes one.

    A shard of the index is opened, and verified, when a search first needs it; the network, when it first gets a
    picture. Threads may share a release, and so may the children of a process that forks, as a web server that loads
    before it forks does. Pickled, it is opened again where it is unpickled, as the same release.
    """

    def __init__(self, folder: ReleaseFolder, origin: tuple[str, config.StoreSettings] | None = None) -> None:
        self._folder = folder
        self._origin = origin  # the warehouse in an object store, where the folder is a copy of it
        self._shards: dict[str, SearchableShard] = {}

    def __repr__(self) -> str:
        held = "its release.json cannot be read"
        try:
            record = self._folder.record()
            held = f"{record.counts.items:,} items, k {record.config.similar.k}"
        except WarehouseError:
            pass
        return f"<lookalike.Release {self.release_id} of {self.warehouse}: {held}>"

    def __reduce__(self) -> tuple[object, ...]:
        if self._origin is None:
            return open_release, (str(self._folder.root),)
        return _download_and_open, (*self._origin, self.release_id)

    @property
    def release_id(self) -> str:
        """The name of the release, as in the column of the tables."""
        return self._folder.release_id

    @property
    def warehouse(self) -> str:
        """The path or URI of the warehouse."""
        return self._origin[0] if self._origin else str(self._folder.warehouse)

    def similar(self, item_id: str, k: int = 10) -> list[Neighbour]:
        """Return the item's k best neighbours of the published table, best first; fewer where it has fewer.

        An item that is alone in its group has none. Raises QueryError for an item that has no embedding.

            release.similar("item-1", k=2)  # [Neighbour(item_id='item-7', score=0.93), Neighbour(…)]
        """
        k = min(_at_least_one("k", k), _LARGEST_INT)
        if not _is_unicode(str(item_id)):  # half a character, as the shell passes a byte that is no UTF-8
            raise QueryError(f"item {item_id!r} is not in release {self.release_id}: it is not text")
        wanted = ds.field("item_id") == str(item_id)
        columns = ("rank", "similar_item_id", "score")
        found = tables.rows(self._similar_items, wanted & (ds.field("rank") <= k), columns)
        if found:
            found.sort(key=lambda row: row["rank"])
            return [Neighbour(row["similar_item_id"], row["score"]) for row in found]
        if not tables.rows(tables.open_table(self._folder.embeddings), wanted, ("item_id",)):
            raise QueryError(self._why_unknown(str(item_id)))
        return []

    def search(
        self, vector: ArrayLike, k: int = 10, group: str | None = None, search_k: int | None = None
    ) -> list[Neighbour]:
        """Return the k items with the nearest embeddings to `vector` [dimensions], best first, with exact cosines.

        They are eligible items, of one group or, with None, of all; fewer than k only where there are no more. An item
        with a vector of zeros has the score 0. `search_k` is how many entries of its trees Annoy looks at in a
        shard: more find better and take longer, by default 20,000 or, if that is more, 100 a neighbour. A shard of up
        to dimensions + 2 items is exact in any case. Raises QueryError; ManifestError or ShardError where the index is
        not as its manifest says.

            release.search(embedding, k=10, group="shoes")
        """
        k = _at_least_one("k", k)
        if search_k is None:
            search_k = max(SEARCH_K, SEARCH_K_PER_NEIGHBOUR * k)
        search_k = min(_at_least_one("search_k", search_k), _LARGEST_INT)
        shards = [self._open(shard) for shard in self._of_group(group)]
        query = _query(vector, self._manifest.dimensions)
        found = [neighbour for shard in shards for neighbour in shard.nearest(query, k, search_k)]
        return heapq.nsmallest(k, found, key=order)

    def search_image(
        self,
        picture: str | PathLike[str] | bytes | bytearray | memoryview,
        k: int = 10,
        group: str | None = None,
        search_k: int | None = None,
    ) -> list[Neighbour]:
        """Do what `search` does, for a picture that the release's network embeds: a path, a URI, or a file's bytes.

        Also raises QueryError for a picture that cannot be embedded, ModelError when the warehouse has lost the model.

            release.search_image("photo.jpg", k=10)
        """
        return self.search(self._embedder.embed(picture), k, group, search_k)

    # ---- the parts, each read when first needed

    @lazy
    def _manifest(self) -> manifest.Manifest:
        return manifest.read(self._folder.index)

    @lazy
    def _similar_items(self) -> ds.Dataset:
        return tables.open_table(self._folder.similar_items)

    @lazy
    def _embedder(self) -> PictureEmbedder:
        return PictureEmbedder(self._folder)

    def _of_group(self, group: str | None) -> list[manifest.ManifestShard]:
        shards = self._manifest.shards
        found = [shard for shard in shards if group is None or shard.group == group]
        if found or group is None:
            return found
        if self._manifest.group_by is None:
            raise QueryError(f"group {group!r}: the release has no groups; leave it out, or set similar.group_by")
        known = sorted({shard.group for shard in shards if shard.group is not None})
        near = difflib.get_close_matches(str(group), known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {len(known):,}, such as {known[:3]}"
        raise QueryError(f"group {group!r}: no item's {self._manifest.group_by} is that{hint}")

    def _open(self, shard: manifest.ManifestShard) -> SearchableShard:
        # Two threads may both verify a shard: either result is good.
        if shard.file not in self._shards:
            self._shards[shard.file] = SearchableShard.of(self._folder.index, self._manifest, shard)
        return self._shards[shard.file]

    def _why_unknown(self, item_id: str) -> str:
        failures = tables.open_table(self._folder.failures)
        failed = tables.rows(failures, ds.field("item_id") == item_id, ("reason",))
        if failed:
            return f"item {item_id!r} has no embedding: its picture failed with {failed[0]['reason']}"
        return f"item {item_id!r} is not in release {self.release_id}"


# `rank` is an int, and so is what Annoy takes.
_LARGEST_INT = 2**31 - 1


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _at_least_one(name: str, value: SupportsIndex) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise QueryError(f"{name} is {value!r}; give a whole number of 1 or more")
    return number


def _query(vector: ArrayLike, dimensions: int | None) -> Vectors:
    """Return `vector` as float32 [dimensions] of unit length; raise QueryError when it has no direction."""
    try:
        query = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError):
        raise QueryError("the vector is not made of numbers; give a list or an array of them") from None
    # An index of no items has no dimensions: it answers any vector with nothing.
    if query.ndim != 1 or dimensions not in (None, len(query)):
        raise QueryError(f"the vector's shape is {query.shape}; the index holds vectors of ({dimensions},)")
    norm = math.hypot(*query)  # no square overflows
    if not math.isfinite(norm):
        raise QueryError("the vector holds NaN or infinite values; correct what made it")
    if not norm:
        raise QueryError("the vector is all zeros and so near to nothing; correct what made it")
    unit = query if abs(norm - 1) <= UNIT_NOISE else query / norm
    return unit.astype(np.float32)
