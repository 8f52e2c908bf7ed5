"""Find below which folder the relative picture paths of a catalogue lie, and try some of its pictures."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from lookalike import config
from lookalike.catalogue.files import local_path
from lookalike.failures import ImageError
from lookalike.images import decoder
from lookalike.images.picture import Picture
from lookalike.storage import prefetch
from lookalike.storage.image_reader import ImageReader
from lookalike.storage.uri import is_uri, join_root

# Folders next to a catalogue that are looked into.
_MOST_FOLDERS = 200

# Side of the pictures that are tried, and the seconds of each.
_SIZE, _SECONDS = 224, 5.0


@dataclass(frozen=True)
class Tried:
    """How many pictures were tried and read, and why others were not: the errors by path."""

    read: int
    failed: dict[str, ImageError]

    @property
    def reasons(self) -> dict[str, int]:
        """How many failed by each reason, the commonest first."""
        return dict(Counter(error.reason for error in self.failed.values()).most_common())


def find_root(paths: Sequence[str], catalogue: str) -> str:
    """Return the folder, or the prefix of a store, below which most relative paths lie; "" if none is relative."""
    relative = [path for path in paths if not is_uri(path) and not path.startswith("/")]
    if not relative:
        return ""
    place = local_path(catalogue)
    if place is None:
        return catalogue.rstrip("/").rpartition("/")[0] if re.search(r"\.\w+$", catalogue) else catalogue.rstrip("/")
    roots = list(dict.fromkeys(_folders(os.path.abspath(place))))
    return max(roots, key=lambda root: sum(os.path.isfile(os.path.join(root, path)) for path in relative))


def _folders(place: str) -> Iterator[str]:
    """Yield the folder of a catalogue, those in it, the two above with those in them, and the working folder."""
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    for folder in (place, os.path.dirname(place), os.path.dirname(os.path.dirname(place))):
        yield folder
        try:
            with os.scandir(folder) as entries:
                yield from sorted(islice((entry.path for entry in entries if entry.is_dir()), _MOST_FOLDERS))
        except OSError:
            continue
    yield os.getcwd()


def try_pictures(paths: Sequence[str], settings: config.Settings) -> Tried:
    """Read and decode some pictures as the run does, all at once, each with one short try."""
    short = {"retries": 0, "read_timeout": min(settings.images.read_timeout, _SECONDS), "connect_timeout": _SECONDS}
    quick = settings.model_copy(update={"images": settings.images.model_copy(update=short)})
    reader = ImageReader.of(quick)

    def fetch(path: str) -> Picture:
        return decoder.shared().decode(reader.read(path), _SIZE, quick.images)

    done = prefetch.fetch_ahead(fetch, paths, max(1, len(paths)), lambda picture: picture.pixels.nbytes)
    failed = {path: one for path, one in zip(paths, done, strict=True) if isinstance(one, ImageError)}
    return Tried(
        len(paths) - len(failed), {join_root(settings.catalogue.image_root, path): failed[path] for path in failed}
    )
