"""Ask a release from Python: its table of neighbours, or its Annoy index by vector or picture."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

import pyarrow.dataset as ds
from numpy.typing import ArrayLike

from lookalike import config
from lookalike.errors import LookalikeError, QueryError, ReleaseRemovedError, WarehouseError
from lookalike.index import manifest
from lookalike.serving import tables
from lookalike.serving.embedder import PictureEmbedder
from lookalike.serving.groups import ItemGroups
from lookalike.serving.lazy import lazy
from lookalike.serving.questions import ALL_GROUPS, LARGEST_INT, AllGroups, at_least_one, is_unicode, unit_query
from lookalike.serving.search import IndexSearch
from lookalike.serving.shard import Neighbour, SearchableShard
from lookalike.serving.tables import Table
from lookalike.storage import prefix
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from lookalike.warehouse.release_files import ReleaseFiles


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
    warehouse = opening.at(config.WarehouseSettings(path=uri), stores)
    release = warehouse.find(release_id) if release_id else warehouse.need_current()
    warehouse.fetch_models()
    return Release(ReleaseFolder(warehouse.fetch(release).root.resolve()), (uri, stores))


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
        k = min(at_least_one("k", k), LARGEST_INT)
        if not is_unicode(str(item_id)):  # half a character, as the shell passes a byte that is no UTF-8
            raise QueryError(f"item {item_id!r} is not in release {self.release_id}: it is not text")
        with self._removal_named():
            return self._similar(str(item_id), k)

    def search(
        self,
        vector: ArrayLike,
        k: int = 10,
        group: str | AllGroups | None = ALL_GROUPS,
        search_k: int | None = None,
        *,
        distinct: bool = False,
    ) -> list[Neighbour]:
        """Return the k items with the nearest embeddings to `vector` [dimensions], best first, with exact cosines.

        Of the rules of similar items they follow `similar.eligible`; with a `group`, `similar.group_by` (None is the
        group of the items without a value); and with `distinct`, one item, the nearest, of each product
        (`similar.variant_of`) and of each duplicate group (`similar.duplicate_cosine`). They do not follow
        `similar.min_score` and `similar.group_fallback`. Equal scores are in the order of the ids.

        There are fewer than k only where there are no more. An item with a vector of zeros has the score 0. `search_k`
        is how many entries of its trees Annoy looks at in a shard: more find better and take longer, by default 20,000
        or, if that is more, 100 a neighbour. A shard of up to dimensions + 2 items is exact in any case. Raises
        QueryError; ManifestError or ShardError where the index is not as its manifest says; ReleaseRemovedError.

            release.search(embedding, k=10, group="shoes")
        """
        k = at_least_one("k", k)
        if search_k is not None:
            search_k = min(at_least_one("search_k", search_k), LARGEST_INT)
        with self._removal_named():
            shards = [self._open(shard) for shard in self._of_group(group)]
            search = IndexSearch(shards, unit_query(vector, self._manifest.dimensions), search_k)
            return search.nearest_of_each(k, self._item_groups) if distinct else search.nearest(k)

    def search_image(
        self,
        picture: str | PathLike[str] | bytes | bytearray | memoryview,
        k: int = 10,
        group: str | AllGroups | None = ALL_GROUPS,
        search_k: int | None = None,
        *,
        distinct: bool = False,
    ) -> list[Neighbour]:
        """Do what `search` does, by the same rules, for a picture that the release's network embeds.

        The picture is a path, a URI, or a file's bytes. Also raises QueryError for a picture that cannot be embedded,
        ModelError when the warehouse has lost the model.

            release.search_image("photo.jpg", k=10)
        """
        with self._removal_named():
            vector = self._embedder.embed(picture)
        return self.search(vector, k, group, search_k, distinct=distinct)

    # ---- the parts, each read when first needed

    @lazy
    def _manifest(self) -> manifest.Manifest:
        tables.need_whole(self._folder.index / manifest.NAME, self._listed)
        return manifest.read(self._folder.index)

    @lazy
    def _similar_items(self) -> Table:
        return tables.open_table(self._folder, self._folder.similar_items)

    @lazy
    def _embeddings(self) -> Table:
        return tables.open_table(self._folder, self._folder.embeddings)

    @lazy
    def _item_groups(self) -> ItemGroups:
        return ItemGroups.of(self._folder)

    @lazy
    def _listed(self) -> ReleaseFiles | None:
        return self._folder.files()

    @lazy
    def _embedder(self) -> PictureEmbedder:
        return PictureEmbedder(self._folder)

    def _similar(self, item_id: str, k: int) -> list[Neighbour]:
        wanted = ds.field("item_id") == item_id
        columns = ("rank", "similar_item_id", "score")
        found = self._similar_items.rows(wanted & (ds.field("rank") <= k), columns)
        if found:
            found.sort(key=lambda row: row["rank"])
            return [Neighbour(row["similar_item_id"], row["score"]) for row in found]
        if not self._embeddings.rows(wanted, ("item_id",)):
            raise QueryError(self._why_unknown(item_id))
        return []

    @contextmanager
    def _removal_named(self) -> Iterator[None]:
        """Raise ReleaseRemovedError where a file cannot be read because the whole release is gone."""
        try:
            yield
        except (LookalikeError, OSError):
            if self._folder.record_path.is_file():
                raise
            raise ReleaseRemovedError(
                f"release {self.release_id} was removed from {self.warehouse}; open the warehouse again"
            ) from None

    def _of_group(self, group: str | AllGroups | None) -> list[manifest.ManifestShard]:
        shards = self._manifest.shards
        found = [shard for shard in shards if group is ALL_GROUPS or shard.group == group]
        if found or not shards:
            return found
        if self._manifest.group_by is None:
            raise QueryError(f"group {group!r}: the release has no groups; leave it out, or set similar.group_by")
        if group is None:
            raise QueryError(
                f"group None: every item has a {self._manifest.group_by}; leave group out to ask all groups"
            )
        known = sorted({shard.group for shard in shards if shard.group is not None})
        near = difflib.get_close_matches(str(group), known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {len(known):,}, such as {known[:3]}"
        raise QueryError(f"group {group!r}: no item's {self._manifest.group_by} is that{hint}")

    def _open(self, shard: manifest.ManifestShard) -> SearchableShard:
        # Two threads may both verify a shard: either result is good.
        if shard.file not in self._shards:
            tables.need_whole(self._folder.index / shard.items_file, self._listed)
            self._shards[shard.file] = SearchableShard.of(self._folder.index, self._manifest, shard)
        return self._shards[shard.file]

    def _why_unknown(self, item_id: str) -> str:
        failures = tables.open_table(self._folder, self._folder.failures)
        failed = failures.rows(ds.field("item_id") == item_id, ("reason",))
        if failed:
            return f"item {item_id!r} has no embedding: its picture failed with {failed[0]['reason']}"
        return f"item {item_id!r} is not in release {self.release_id}"
