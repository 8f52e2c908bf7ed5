"""Embed a picture with the network that made a release."""

from __future__ import annotations

import threading
from os import PathLike

from lookalike import forks
from lookalike.errors import QueryError
from lookalike.failures import ImageError
from lookalike.images import decoder
from lookalike.models import runtime
from lookalike.models import store as model_store
from lookalike.models.runtime import Engine
from lookalike.serving.gallery import image_settings
from lookalike.storage.image_reader import ImageReader
from lookalike.topk.items import Vectors, unit_length
from lookalike.warehouse.release import ReleaseFolder

# A path, a URI, or the bytes of a file.
Picture = str | PathLike[str] | bytes | bytearray | memoryview


class PictureEmbedder:
    """The network of a release, loaded with the first picture. Threads may share it, and forked children too."""

    def __init__(self, release: ReleaseFolder) -> None:
        self._release = release
        self._record = release.record()
        # The caller names the picture: it need not be where the catalogue's pictures are.
        anywhere = {"allowed_roots": (), "allow_private_addresses": True}
        self._reader = ImageReader(image_settings(self._record).model_copy(update=anywhere))
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        forks.register(self)

    def embed(self, picture: Picture) -> Vectors:
        """Return the vector of a picture, float32 [dimensions] of unit length; raise QueryError or ModelError."""
        if isinstance(picture, bytearray | memoryview):
            picture = bytes(picture)
        if not isinstance(picture, bytes | str | PathLike):
            raise QueryError(f"a picture is a path, a URI or a file's bytes, not of the type {type(picture).__name__}")
        try:
            data = picture if isinstance(picture, bytes) else self._reader.read(str(picture))
            with self._lock:
                engine = self._loaded()
            pixels = decoder.shared().decode(data, engine.input_size, self._reader.limits).pixels
        except ImageError as error:
            name = f"{len(picture):,} bytes" if isinstance(picture, bytes) else picture
            raise QueryError(f"{name} cannot be embedded: {error}") from None
        with self._lock:
            features = engine.embed(pixels[None])
        vectors, _ = unit_length(features)
        vector: Vectors = vectors[0]
        return vector

    def drop_parents(self) -> None:
        """Forget the parent's lock, in a forked child; and an engine in the middle of a picture of another thread."""
        if self._lock.locked():
            self._engine = None
        self._lock = threading.Lock()

    def _loaded(self) -> Engine:
        if self._engine is None:
            store = self._release.warehouse / "models"
            model = model_store.find(store, self._record.model.model_id)
            runtime.check(model.engine)
            alone = threading.active_count() == 1
            with forks.held_back():  # it imports the engine
                self._engine = runtime.load(model.engine, model.artefact, silent=alone)
        return self._engine
