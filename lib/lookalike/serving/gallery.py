"""The pictures and labels of some items of a release, to be shown: bounded in number and in time."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
from pydantic import ValidationError

from lookalike import config
from lookalike.errors import LookalikeError, WarehouseError
from lookalike.serving import tables
from lookalike.storage.image_reader import ImageReader
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder

if TYPE_CHECKING:
    from lookalike.images.thumbnails import Thumbnail

# Photos of 1 MB take 10 ms each to decode; a web server that does not answer keeps a notebook waiting no longer.
SECONDS = 3.0
# Pictures that are read at a time: the web answers while one is decoded.
READERS = 4


@dataclass(frozen=True)
class Card:
    """An item to be shown: the values of its kept columns, and its picture as a data URI, or why there is none."""

    labels: tuple[str, ...] = ()
    picture: str | None = None
    problem: str = ""


class Gallery:
    """The items of one release, by id; without a release it has no pictures, and so it is pickled."""

    def __init__(self, release: ReleaseFolder | None = None, stores: config.StoreSettings | None = None) -> None:
        self._release = release
        self._stores = stores

    def __reduce__(self) -> tuple[Any, ...]:
        return Gallery, ()

    def cards(self, item_ids: Sequence[str]) -> dict[str, Card]:
        """Return what is to be shown of the items that the release has; of one that it has lost, nothing."""
        if self._release is None:
            return {}
        try:
            record = self._release.record()
            rows = self._rows(item_ids)
            pictures = read_thumbnails([row["image_path"] for row in rows], picture_reader(record, self._stores))
        except LookalikeError as error:  # the release was removed since, or damaged: ids and scores are known
            return dict.fromkeys(item_ids, Card(problem=str(error)))
        return {row["item_id"]: _card(row, picture) for row, picture in zip(rows, pictures, strict=True)}

    def _rows(self, item_ids: Sequence[str]) -> list[dict[str, Any]]:
        assert self._release is not None
        table = tables.open_table(self._release, self._release.embeddings)
        return table.rows(ds.field("item_id").isin(list(item_ids)), tables.item_columns(table))


def picture_reader(record: ReleaseRecord, stores: config.StoreSettings | None = None) -> ImageReader:
    """Return the reader of a release's own pictures, as it was recorded: limits, root, and allowed places."""
    stored = record.config
    known = "stores" in stored.as_stored()  # of the first versions it is not
    stores = stores or (_stored(config.StoreSettings, record, "stores") if known else config.StoreSettings())
    named = (stored.catalogue.path, str(stored.as_stored().get("warehouse", {}).get("path", "")))
    return ImageReader(image_settings(record), stores, stored.catalogue.image_root or "", named)


def image_settings(record: ReleaseRecord) -> config.ImageSettings:
    """Return what the release's pictures were read with; raise WarehouseError where they are of another version."""
    settings: config.ImageSettings = _stored(config.ImageSettings, record, "images")
    return settings


def read_thumbnails(paths: Sequence[str], reader: ImageReader, seconds: float = SECONDS) -> list[Thumbnail]:
    """Return a thumbnail of each picture; of one that cannot be read, or not in time, the reason.

    Threads that read on behind a slow server end with the process, and nobody waits for them.
    """
    from lookalike.images import thumbnails  # Pillow: only where pictures are shown

    late = thumbnails.Thumbnail(None, problem=f"timeout: not read within {seconds:g} s")
    found, waiting, end = [late] * len(paths), queue.SimpleQueue[int](), time.monotonic() + seconds
    for place in range(len(paths)):
        waiting.put(place)
    threads = [
        threading.Thread(target=partial(_read_some, waiting, paths, reader, found, end), daemon=True)
        for _ in range(min(READERS, len(paths)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return list(found)


def _read_some(
    waiting: queue.SimpleQueue[int], paths: Sequence[str], reader: ImageReader, found: list[Thumbnail], end: float
) -> None:
    """Write the thumbnails of the paths that wait, until there are none or it is too late."""
    from lookalike.images import thumbnails

    while time.monotonic() < end:
        try:
            place = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            found[place] = thumbnails.make(paths[place], reader)
        except (LookalikeError, OSError) as error:  # the decoder does not start
            found[place] = thumbnails.Thumbnail(None, problem=str(error))


def _card(row: dict[str, Any], picture: Thumbnail) -> Card:
    labels = (value for name, value in row.items() if name not in ("item_id", "image_path"))
    return Card(tuple("" if one is None else str(one) for one in labels), picture.uri, picture.problem)


def _stored(kind: type[Any], record: ReleaseRecord, section: str) -> Any:
    try:
        return kind.model_validate_json(json.dumps(record.config.as_stored().get(section)))
    except ValidationError:
        raise WarehouseError(
            f"release {record.release_id}: config.{section} is not as this version of lookalike writes it; read the "
            "release with the version that wrote it"
        ) from None
