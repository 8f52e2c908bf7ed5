"""Ask a release from Python: its lists of neighbours, its items, or its index by vector or picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

from numpy.typing import ArrayLike

from lookalike import config
from lookalike.errors import ConfigError, LookalikeError, ReleaseRemovedError, WarehouseError
from lookalike.serving import many
from lookalike.serving.embedder import Picture, PictureEmbedder
from lookalike.serving.gallery import Gallery
from lookalike.serving.groups import ItemGroups
from lookalike.serving.item_ids import ItemId, as_item_id, as_item_ids
from lookalike.serving.lazy import lazy
from lookalike.serving.lists import ReleaseItems
from lookalike.serving.questions import ALL_GROUPS, LARGEST_INT, AllGroups, at_least_one, unit_queries, unit_query
from lookalike.serving.release_index import ReleaseIndex
from lookalike.serving.results import Changes, Items, NeighbourLists, Neighbours
from lookalike.serving.search import IndexSearch
from lookalike.serving.why import Explainer, Why
from lookalike.storage import prefix
from lookalike.topk.items import Vectors
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder

# The folder of a release in a warehouse, by its name: that begins with its time.
_RELEASE = re.compile(r"(.+)/releases/(\d{8}T\d{6}[\w.-]*)/?")


def open_release(path: str | PathLike[str], stores: config.StoreSettings | None = None) -> Release:
    """Open the current release of a warehouse, to ask it for similar items; raise WarehouseError.

    `path` is a warehouse, or the folder of one release. A warehouse in an object store, whose settings are `stores`, is
    first copied to this machine, its current release and its network. The release stays the same when a run publishes
    the next one.

        import lookalike

        release = lookalike.open_release("/data/lookalike")
        release.similar("item-1", k=10)
        release.similar_many(["item-1", "item-2"]).to_pandas()
        release.search_image("photo.jpg", k=10, group="shoes")
    """
    if not isinstance(stores, config.StoreSettings | None):
        raise ConfigError(f"stores is of the type {type(stores).__name__}; give lookalike.StoreSettings(…)")
    if prefix.in_store(str(path)):
        named = _RELEASE.fullmatch(str(path))
        where, release_id = named.groups() if named else (str(path), None)
        return _download_and_open(where, stores or config.StoreSettings(), release_id)
    try:
        return Release(_at(str(path)))
    except OSError as error:  # a folder on the way that this user may not read, a name that is too long
        raise WarehouseError(
            f"{path} cannot be read ({error.strerror}); give a warehouse that this user may read"
        ) from None


def _at(path: str) -> ReleaseFolder:
    """Return the release of a folder: its own, or the current one of a warehouse; raise WarehouseError."""
    folder = Warehouse(path).path
    if not folder.is_dir():
        raise WarehouseError(f"{path}: no such folder; give a warehouse, or the folder of a release")
    given = ReleaseFolder(folder.resolve())
    release = given if given.record_path.is_file() else Warehouse(path).need_current()
    return ReleaseFolder(release.root.resolve())


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

    An item that the release has no embedding of raises UnknownItemError, in each method that takes ids.
    """

    def __init__(self, folder: ReleaseFolder, origin: tuple[str, config.StoreSettings] | None = None) -> None:
        self._folder = folder
        self._origin = origin  # the warehouse in an object store, where the folder is a copy of it
        self._gallery = Gallery(folder, origin[1] if origin else None)
        self._index = ReleaseIndex(folder)
        self._items = ReleaseItems(folder, self._gallery)

    def __repr__(self) -> str:
        held = "its release.json cannot be read"
        try:
            record = self.record
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

    @property
    def record(self) -> ReleaseRecord:
        """What release.json says, typed: counts, gates, model, changes, seconds, settings.

        Releases of older versions lack some; these have defaults.

            release.record.counts.recall, release.record.config.similar.k
        """
        with self._removal_named():
            return self._record

    # ---- by item

    def similar(self, item_id: ItemId, k: int = 10) -> Neighbours:
        """Return the item's k best neighbours of the published table, best first; fewer where it has fewer.

        The table has `similar.k` of them, and `similar.spare` more. An item that is alone in its group has none.

            release.similar("item-1", k=2)  # [Neighbour(item_id='item-7', score=0.93), Neighbour(…)]
        """
        k = min(at_least_one("k", k), LARGEST_INT)
        with self._removal_named():
            return self._items.neighbours(as_item_id(item_id), k)

    def similar_many(self, item_ids: Iterable[Any], k: int = 10) -> NeighbourLists:
        """Return the k best neighbours of each item, in the order of `item_ids`; the table is read once.

        The ids may be a list, an array, or a column of pandas, Arrow or Polars; an id may come twice.

            release.similar_many(["item-1", "item-2"], k=5).to_pandas()
        """
        k = min(at_least_one("k", k), LARGEST_INT)
        with self._removal_named():
            return self._items.lists(as_item_ids(item_ids), k)

    def items(self, item_ids: Iterable[Any] | None = None, columns: Sequence[str] | None = None) -> Items:
        """Return items with the columns that the release keeps of the catalogue; all items, by their ids, without ids.

        `columns` are others of the table `embeddings`, such as width; `item_id` is always there. Given ids keep their
        order, and the neighbours of `similar` are ids, too. Items without an embedding are not among all items.

            release.items().to_pandas()
            release.items(release.similar("item-1"))
        """
        with self._removal_named():
            return self._items.items(None if item_ids is None else as_item_ids(item_ids), columns)

    def embedding(self, item_id: ItemId) -> Vectors:
        """Return the embedding of an item, float32 [dimensions] of unit length.

        A search by it gives the scores of the published table.

            release.search(release.embedding("item-1"), k=5)
        """
        vector: Vectors = self.embeddings([as_item_id(item_id)])[0]
        return vector

    def embeddings(self, item_ids: Iterable[Any]) -> Vectors:
        """Return the embeddings of items, float32 [n, dimensions], in the order of `item_ids`.

        Only the parts of the table that hold them are read: 8 MB for one item, at 2,048 dimensions.

            release.embeddings(["item-1", "item-2"]).mean(axis=0)
        """
        with self._removal_named():
            return self._items.vectors(as_item_ids(item_ids))

    def changes(self) -> Changes:
        """Return what a copy of the release before takes over and drops to become this one: items and lists, by id.

        The items and lists themselves are those of `items`, `embeddings` and `similar_many`. Look at `since` first: it
        is the release that the copy must hold. Raises WarehouseError for a release of version 0.5.0
        or an older one, which has no such table.

            changes = release.changes()
            [row["item_id"] for row in changes if row["kind"] == "list" and row["change"] == "upsert"]
        """
        with self._removal_named():
            return self._items.changes()

    def why(self, item_id: ItemId, other_id: ItemId) -> Why:
        """Say why `other_id` is in the list of `item_id`, or is not: score, rank by score, and the rule that decided.

        All candidates of the item are scored, exactly; the published table says what is listed.

            print(release.why("item-1", "item-7"))
        """
        with self._removal_named():
            return self._explainer.explain(as_item_id(item_id), as_item_id(other_id))

    # ---- by vector or picture

    def search(
        self,
        vector: ArrayLike,
        k: int = 10,
        group: str | AllGroups | None = ALL_GROUPS,
        search_k: int | None = None,
        *,
        distinct: bool = False,
    ) -> Neighbours:
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
            shards = self._index.shards(group)
            search = IndexSearch(shards, unit_query(vector, self._index.dimensions), search_k)
            found = search.nearest_of_each(k, self._item_groups) if distinct else search.nearest(k)
            return Neighbours(found, None, self._gallery)

    def search_image(
        self,
        picture: Picture,
        k: int = 10,
        group: str | AllGroups | None = ALL_GROUPS,
        search_k: int | None = None,
        *,
        distinct: bool = False,
    ) -> Neighbours:
        """Do what `search` does, by the same rules, for a picture that the release's network embeds.

        The picture is a path, a URI, or a file's bytes. Also raises QueryError for a picture that cannot be embedded,
        ModelError when the warehouse has lost the model.

            release.search_image("photo.jpg", k=10)
        """
        return self.search(self.embed_image(picture), k, group, search_k, distinct=distinct)

    def embed_image(self, picture: Picture) -> Vectors:
        """Return the embedding of a picture by the release's network, float32 [dimensions] of unit length.

        It raises as `search_image` does.

            release.search(release.embed_image("photo.jpg"), k=10)
        """
        with self._removal_named():
            return self._embedder.embed(picture)

    def search_many(
        self,
        queries: ArrayLike | Sequence[Picture],
        k: int = 10,
        group: str | AllGroups | None = ALL_GROUPS,
        *,
        distinct: bool = False,
    ) -> NeighbourLists:
        """Return the k nearest items of each of many vectors [n, dimensions], or of each of a list of pictures.

        It follows the same rules as `search`, but compares each query with all items, by matrix products of a shard
        and many queries: nothing is missed, and 1,000 vectors take about a tenth of as many searches.

            release.search_many(release.embeddings(["item-1", "item-2"]), k=5)
            release.search_many(["a.jpg", "b.jpg"], k=5)
        """
        k = at_least_one("k", k)
        with self._removal_named():
            pictures, vectors = many.as_pictures(queries)
            if pictures:
                vectors = many.embed(pictures, self._embedder.embed)
            units = unit_queries(vectors, self._index.dimensions)
            groups = self._item_groups if distinct else None
            return many.search(self._index.shards(group), units, k, groups, self._gallery)

    # ---- the parts, each read when first needed

    @lazy
    def _record(self) -> ReleaseRecord:
        return self._folder.record()

    @lazy
    def _item_groups(self) -> ItemGroups:
        return ItemGroups.of(self._folder)

    @lazy
    def _explainer(self) -> Explainer:
        return Explainer(self.release_id, self._items, self._record.config.similar, self._index)

    @lazy
    def _embedder(self) -> PictureEmbedder:
        return PictureEmbedder(self._folder)

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
