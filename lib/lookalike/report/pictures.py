"""The rows of pictures of a page: which card shows which item, and what it says below."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from lookalike import config
from lookalike.images import thumbnails
from lookalike.images.thumbnails import Thumbnail
from lookalike.pages.cards import Card, CardList, PictureRow, labels
from lookalike.report.contents import Contents, Listed, ShownList
from lookalike.report.samples import LabelledItem
from lookalike.spark.hubs import Hub
from lookalike.storage.image_reader import ImageReader

# A picture that does not come soon is left out of the page, and so are those that would begin later than all may take:
# the night does not wait for a store that is gone.
SECONDS = 10.0
ALL_SECONDS = 20.0


class Album:
    """The pictures of a page, each read and made small once."""

    def __init__(self, contents: Contents, settings: config.Settings) -> None:
        self._items = {**contents.former, **contents.items}
        limits = settings.images.model_copy(
            update={"retries": 0, "read_timeout": min(SECONDS, settings.images.read_timeout)}
        )
        reader = ImageReader.of(settings.model_copy(update={"images": limits}))
        with ThreadPoolExecutor(settings.images.fetch_threads, thread_name_prefix="thumbnail") as pool:
            made = pool.map(partial(_make, reader, time.monotonic() + ALL_SECONDS), self._items.values())
            self._made = dict(zip(self._items, made, strict=True))

    def card(self, item_id: str, note: str = "", mark: str = "", like: LabelledItem | None = None) -> Card:
        """Return the card of an item; its labels are compared with those of `like`."""
        item = self._items.get(item_id)
        if item is None:  # of a release before, of which the tables are damaged
            return Card(item_id, Thumbnail(None, problem="not known any more"), (), note, mark)
        shown = list(labels(item.labels, like.labels if like else None))
        return Card(item_id, self._made[item_id], shown, note, mark)

    def hub(self, hub: Hub) -> Card:
        """Return the card of an item that many lists have."""
        return self.card(hub.item_id, f"in {hub.lists:,} list{'' if hub.lists == 1 else 's'}")

    def rows(self, shown: Sequence[ShownList]) -> list[PictureRow]:
        """Return a row for each list."""
        return [PictureRow(self.card(one.item_id), list(self._lists(one))) for one in shown]

    def _lists(self, one: ShownList) -> Iterator[CardList]:
        if one.before is None:
            yield CardList("", self._cards(one, one.now))
            return
        yield CardList("Before", self._cards(one, one.before, "left"))
        yield CardList("Now", self._cards(one, one.now, "new"))

    def _cards(self, one: ShownList, listed: Listed, mark: str = "") -> list[Card]:
        like = self._items.get(one.item_id)
        return [self.card(item, f"{score:.3f}", mark if item in one.moved else "", like) for item, score in listed]


def _make(reader: ImageReader, until: float, item: LabelledItem) -> Thumbnail:
    if time.monotonic() > until:
        return Thumbnail(None, problem="the pictures before it took too long")
    return thumbnails.make(item.image_path, reader)
