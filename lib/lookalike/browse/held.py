"""A release as the site holds it: what is read of its tables once, and asked many times."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray
from PIL import Image

from lookalike import config
from lookalike.browse.items import Items, Rows
from lookalike.browse.lists import Lists
from lookalike.errors import QueryError
from lookalike.images import thumbnails
from lookalike.pages.failed import FailedItem
from lookalike.serving import tables
from lookalike.serving.client import Release
from lookalike.serving.gallery import picture_reader
from lookalike.storage.image_reader import ImageReader
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import Refused, ReleaseFolder

# Items of a release that is held: 100 bytes each and its labels, and 8 bytes a neighbour.
MOST_ITEMS = 5_000_000

# The cosine from which pictures are shown as perhaps one, where similar.duplicate_cosine says none: an angle of 2.6
# degrees. Of 6,000 photos it ties 45 groups of up to 12 items; 0.99 ties 450 T-shirts.
ALIKE = 0.999

# Failures of one reason that are shown.
MOST_FAILURES = 1_000

# A picture that does not come soon is left out: nobody waits for it.
_SECONDS = 5.0


class HeldRelease:
    """A release with its items and lists in memory. Threads share it; what needs the whole is computed once."""

    def __init__(self, folder: ReleaseFolder, stores: config.StoreSettings) -> None:
        """Read the release; raise WarehouseError, and QueryError where it is too large."""
        self.folder = folder
        self.record: ReleaseRecord = folder.record()
        if self.record.counts.items > MOST_ITEMS:
            raise QueryError(
                f"release {folder.release_id} has {self.record.counts.items:,} items; the site holds a release in "
                f"memory, and takes up to {MOST_ITEMS:,}"
            )
        self.release = Release(folder)
        self.items = Items.read(
            tables.open_table(folder, folder.embeddings),
            config.ELIGIBLE if self.record.config.similar.eligible is not None else None,
        )
        self.lists = Lists.read(tables.open_table(folder, folder.similar_items), self.items)
        self._stores = stores

    @property
    def release_id(self) -> str:
        """The name of the release."""
        return self.folder.release_id

    @property
    def refused(self) -> bool:
        """Whether a gate refused it."""
        return isinstance(self.folder, Refused)

    @property
    def is_there(self) -> bool:
        """Whether the warehouse still has it."""
        return self.folder.record_path.is_file()

    @cached_property
    def reader(self) -> ImageReader:
        """The reader of the release's pictures; raise WarehouseError where another version wrote how they are read."""
        return _impatient(picture_reader(self.record, self._stores))

    def prepare(self) -> None:
        """Ask what opens the index, the tables of the rules and the network; raise LookalikeError."""
        if len(self.items):
            self.release.why(self.items.ids[0].as_py(), self.items.ids[-1].as_py())
            self.release.search_image(thumbnails.jpeg(Image.new("RGB", (64, 64))), 1)

    # ---- groups

    @property
    def group_by(self) -> str | None:
        """The column of the groups, where its values are kept."""
        name = self.record.config.similar.group_by
        return name if name in self.items.labels else None

    @cached_property
    def groups(self) -> list[tuple[str, Rows]]:
        """The groups by their values, '' for none, and the items of each: the largest first."""
        if self.group_by is None:
            return []
        encoded = self.items.labels[self.group_by].dictionary_encode()
        codes = encoded.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(encoded.dictionary)))
        parts = np.split(order, ends[:-1]) if len(ends) else []
        named = list(zip(encoded.dictionary.to_pylist(), parts, strict=True))
        return sorted(named, key=lambda one: (-len(one[1]), one[0]))

    # ---- the worst

    @cached_property
    def lowest(self) -> tuple[Rows, NDArray[np.float32]]:
        """Items by their best score, the lowest first."""
        return self.lists.lowest()

    @cached_property
    def shorter(self) -> tuple[Rows, Rows]:
        """Items with fewer than k neighbours, the fewest first."""
        return self.lists.shorter(self.record.config.similar.k)

    @cached_property
    def hubs(self) -> tuple[Rows, Rows]:
        """Items that are in many lists, the most first."""
        return self.lists.hubs()

    def of_another(self, column: str) -> tuple[Rows, Rows]:
        """Return items of which the first ten neighbours have another value of a kept column, the most first."""
        if column not in self._of_another:
            values = self.items.labels[column]
            encoded = values.dictionary_encode()
            codes = encoded.indices.to_numpy().astype(np.int32)
            empty = pc.equal(values, "").to_numpy(zero_copy_only=False)
            self._of_another[column] = self.lists.of_another(np.where(empty, -1, codes).astype(np.int32), 10)
        return self._of_another[column]

    @cached_property
    def _of_another(self) -> dict[str, tuple[Rows, Rows]]:
        return {}

    @cached_property
    def duplicates(self) -> list[Rows]:
        """The items that show one picture, the one that represents them first: the largest groups first."""
        found = (
            self.lists.clusters(ALIKE) if self.record.config.similar.duplicate_cosine is None else self._duplicates()
        )
        return sorted(found, key=lambda one: (-len(one), int(one[0])))

    def _duplicates(self) -> list[Rows]:
        """Return the groups of the table, none where the release has lost it."""
        if not self.folder.duplicates.is_dir():
            return []
        table = tables.open_table(self.folder, self.folder.duplicates)
        if table.files is None:
            return []
        read = table.read(("item_id", "representative_item_id"))
        members, shown = (self.items.rows(read[name]) for name in read.column_names)
        there = (members >= 0) & (shown >= 0)
        members, shown = members[there], shown[there]
        order = np.lexsort((members, shown))
        firsts, starts = np.unique(shown[order], return_index=True)
        parts = np.split(members[order], starts[1:]) if len(firsts) else []
        return [np.concatenate([[first], part[part != first]]) for first, part in zip(firsts, parts, strict=True)]

    # ---- failures

    def failures(self, wanted: ds.Expression, most: int = MOST_FAILURES) -> list[FailedItem]:
        """Return some of the failures, by their ids; raise WarehouseError."""
        table = tables.open_table(self.folder, self.folder.failures)
        if table.files is None:
            return []
        names = [name for name in ("item_id", "image_path", "reason", "detail") if name in table.files.schema.names]
        found = table.read(names, wanted)
        first = found.take(pc.select_k_unstable(found, k=min(most, len(found)), sort_keys=[("item_id", "ascending")]))
        rows = first.to_pylist() if len(found) else []
        return [FailedItem.of(*(str(row.get(name) or "") for name in _FAILURE)) for row in rows]

    def failure(self, item_id: str) -> FailedItem | None:
        """Return why an item has no embedding, None where it has one or is not known."""
        return next(iter(self.failures(ds.field("item_id") == item_id, 1)), None)

    def failures_with(self, part: str, most: int) -> list[FailedItem]:
        """Return failures of items with a part of the id."""
        return self.failures(pc.match_substring(ds.field("item_id"), part, ignore_case=True), most)


_FAILURE = ("item_id", "image_path", "reason", "detail")


def _impatient(reader: ImageReader) -> ImageReader:
    limits = reader.limits.model_copy(update={"retries": 0, "read_timeout": min(_SECONDS, reader.limits.read_timeout)})
    return ImageReader(limits, reader.stores, reader.root, reader.named)
