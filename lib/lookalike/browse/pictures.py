"""The pictures of a release's items, made small once, and pictures that people search by."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict

import numpy as np

from lookalike.browse.held import HeldRelease
from lookalike.browse.kept_files import KeptFiles
from lookalike.errors import LookalikeError, QueryError
from lookalike.failures import ImageError
from lookalike.images import thumbnails
from lookalike.topk.items import Vectors

# Pixels of the longer side: of a card, on screens of twice the pixels; of an item alone.
SIDES = {"small": 224, "large": 720}

# Bytes of a picture to search by.
MOST_UPLOADED = 20 << 20

# A picture that could not be read is tried again after so many seconds.
_AGAIN = 30.0
_MOST_REFUSED = 10_000


class Pictures:
    """Small copies of pictures: only of those that a release names, by its items."""

    def __init__(self, kept: KeptFiles) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def of_item(self, held: HeldRelease, row: int, side: str) -> bytes | str:
        """Return the picture of an item as JPEG, or the reason why there is none."""
        path, content = held.items.paths[row].as_py(), held.items.hashes[row].as_py()
        # The hash of its bytes tells a picture, wherever it lies; a release of an old version may have none.
        known = (path, content or (held.record.config.catalogue.image_root, held.release_id))
        name = f"{_digest(repr(known))}-{side}.jpg"
        found = self._kept.read(name)
        return found if found is not None else self._made(held, path, name, SIDES[side])

    def _made(self, held: HeldRelease, path: str | None, name: str, side: int) -> bytes | str:
        with self._lock:
            when, why = self._refused.get(name, (0.0, ""))
        if when and time.monotonic() - when < _AGAIN:
            return why
        try:
            data = thumbnails.jpeg(thumbnails.small(held.reader.read(path), side, held.reader))
        except (ImageError, LookalikeError, OSError) as error:
            return self._refuse(name, str(error))
        self._kept.keep(name, data)
        return data

    def _refuse(self, name: str, why: str) -> str:
        with self._lock:
            self._refused[name] = (time.monotonic(), why)
            while len(self._refused) > _MOST_REFUSED:
                self._refused.popitem(last=False)
        return why

    # ---- pictures to search by

    def take(self, held: HeldRelease, data: bytes) -> str:
        """Keep a picture with its vector, by the release's network, and return its key; raise QueryError."""
        if not data:
            raise QueryError("no picture was chosen, or it is empty")
        if len(data) > MOST_UPLOADED:
            raise QueryError(f"the picture is larger than {MOST_UPLOADED >> 20} MiB; shrink it")
        vector = held.release.embed_image(data)
        key = hashlib.sha256(data).hexdigest()[:32]
        shown = thumbnails.jpeg(thumbnails.small(data, SIDES["large"], held.reader))
        self._kept.keep(f"asked-{key}.jpg", shown)
        self._kept.keep(self._vector_name(held, key), vector.astype("<f4").tobytes())
        return key

    def asked(self, key: str) -> bytes | None:
        """Return a picture that somebody searched by; None where it is not kept any more."""
        return self._kept.read(f"asked-{key}.jpg") if _is_key(key) else None

    def vector(self, held: HeldRelease, key: str) -> Vectors | None:
        """Return the vector of such a picture, None where it is not kept any more, or not of this network."""
        data = self._kept.read(self._vector_name(held, key)) if _is_key(key) else None
        return None if not data or len(data) % 4 else np.frombuffer(data, "<f4")

    @staticmethod
    def _vector_name(held: HeldRelease, key: str) -> str:
        return f"asked-{key}-{_digest(held.record.model.model_id)}.f32"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _is_key(key: str) -> bool:
    return len(key) == 32 and key.isascii() and key.isalnum()
