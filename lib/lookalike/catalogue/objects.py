"""Find a catalogue in an object store: what the driver reads of it is copied, tasks fetch what they read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike import config
from lookalike.catalogue import opening
from lookalike.catalogue.convert import RowFiles
from lookalike.catalogue.files import PICTURE, local_path
from lookalike.catalogue.formats import kinds
from lookalike.catalogue.formats.pictures import PictureObjects
from lookalike.errors import CatalogueError, WarehouseError
from lookalike.storage import prefix
from lookalike.storage.prefix import Prefix
from lookalike.storage.uri import parse
from lookalike.warehouse.shared_files import InStore

if TYPE_CHECKING:
    from lookalike.catalogue.formats.iceberg import IcebergTable

# Folders that are listed one by one: a request each, of about 50 ms.
MOST_FOLDERS = 256


@dataclass(frozen=True)
class StoredCatalogue:
    """A catalogue in an object store, opened; messages name the objects, which its user knows, and not the copies."""

    opened: opening.Opened
    copy: Path
    uri: str

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the URI into an error in place of the copy's path."""
        with _named(self.copy, self.uri):
            yield


@contextmanager
def _named(copy: Path, uri: str) -> Iterator[None]:
    try:
        yield
    except CatalogueError as error:
        raise CatalogueError(str(error).replace(str(copy), uri)) from None
    except WarehouseError as error:
        raise CatalogueError(f"catalogue.path: {error}") from None


def find_objects(settings: config.Settings, folder: Path, base: Path) -> StoredCatalogue | None:
    """Open a catalogue in an object store, or a table by its name in a catalog of Iceberg's; None for any other.

    The driver's copies are in the `folder`, and each machine's below its own for `base`, which has the folder in it.
    Raises CatalogueError.
    """
    uri = settings.catalogue.path.rstrip("/")
    table = None
    if opening.is_named_table(uri):
        from lookalike.catalogue.formats import iceberg

        table = iceberg.load_named(uri)
        if not prefix.in_store(table.location()):
            return StoredCatalogue(opening.of_iceberg(table, uri), folder, uri)
    elif not prefix.in_store(uri):
        return None
    found = _Objects(Prefix(table.location() if table else uri, settings.stores), folder, base, settings)
    with _named(found.copy, uri):
        opened = found.iceberg_table(table, uri) if table else found.open()
    return StoredCatalogue(opened, found.copy, uri)


def kind_for_sql(settings: config.Settings) -> str:
    """Return the format of the catalogue as it is now; Parquet where it cannot be told.

    CSV of another encoding than UTF-8 is a format of its own, which no SQL reads.
    """
    kind, encoding = _kind(settings), settings.catalogue.encoding
    return f"csv in {encoding}" if kind == "csv" and encoding != "utf-8" else kind


def _kind(settings: config.Settings) -> opening.Kind:
    path = settings.catalogue.path
    with suppress(CatalogueError, WarehouseError):
        if prefix.in_store(path):
            return _Objects(Prefix(path.rstrip("/"), settings.stores), Path(), Path(), settings).kind()
        if (local := local_path(path)) is not None:
            return opening.kind_at(local)
    return "parquet"


@dataclass(frozen=True)
class _Objects:
    """The objects below the prefix of a catalogue, or the one object that it names; the copies are in the `folder`."""

    prefix: Prefix
    folder: Path
    base: Path
    settings: config.Settings

    @property
    def copy(self) -> Path:
        """Return the copy of what the settings name."""
        return self.folder / (self.prefix.uri.rpartition("/")[2] or "bucket")

    def open(self) -> opening.Opened:
        """Open the catalogue, of whatever format it is; raises CatalogueError and WarehouseError."""
        if (single := self.prefix.find("")) is not None:
            above = Prefix(self.prefix.uri.rpartition("/")[0], self.settings.stores)
            if kinds.METADATA_FILE.fullmatch(self.prefix.uri):
                return self._iceberg(self.prefix.uri, self.prefix.uri)
            self.prefix.download("", self.copy, single.size)
            return self._opened(above, self.folder)
        folders = self.prefix.folders("")
        if "_delta_log" in folders:
            return self._delta()
        if "metadata" in folders and (found := self._metadata()):
            return self._iceberg(f"{self.prefix.uri}/metadata/{found}", self.prefix.uri)
        sizes, has_pictures = self._data(folders)
        self._download(sizes)
        if has_pictures and not any(kinds.is_data(str(self.copy / name)) for name in sizes):
            pictures = PictureObjects(self.prefix.uri, self.settings.stores)
            return RowFiles(pictures, pictures.files())
        return self._opened(self.prefix, self.copy)

    def kind(self) -> opening.Kind:
        """Return the format, by the names of the objects."""
        if self.prefix.find("") is not None:
            is_table = kinds.METADATA_FILE.fullmatch(self.prefix.uri)
            return "iceberg" if is_table else kinds.kind_of_name(self.prefix.uri)
        folders = self.prefix.folders("")
        if "_delta_log" in folders:
            return "delta"
        if "metadata" in folders and self._metadata():
            return "iceberg"
        sizes, has_pictures = self._data(folders)
        named = {kinds.kind_of_name(name) for name in sizes if kinds.is_data_name(name)}
        if not named:
            return "pictures" if has_pictures else "parquet"
        return "parquet" if "parquet" in named else named.pop()

    # ---- the formats

    def _delta(self) -> opening.Opened:
        from lookalike.catalogue.formats.delta_lake import open_delta

        sizes = self._data(self.prefix.folders(""))[0]
        log = {name: size for name, size in sizes.items() if name.startswith("_delta_log/") or name.endswith(".bin")}
        self._download(log)
        table = open_delta(str(self.copy))
        names = {path: self._name(path) for path in (file.path for file in table.files)}
        if gone := next((path for path, name in names.items() if name not in sizes), None):
            raise CatalogueError(f"catalogue.path: {gone} is gone, or in another place; repair the table")
        self._download({name: sizes[name] for name in names.values()})
        return opening.of_live_files(table, self._shared(self.prefix, self.copy))

    def _name(self, path: str) -> str:
        """Return the name below the prefix of what has a copy here; one from outside is none of a file."""
        here = Path(path)
        return here.relative_to(self.copy).as_posix() if here.is_relative_to(self.copy) else ""

    def _metadata(self) -> str | None:
        """Return the name of the current metadata file of an Iceberg table, None if this is none."""
        names = [name.rpartition("/")[2] for name in self.prefix.objects("metadata", recursive=False)]
        if not any(".metadata.json" in name for name in names):
            return None
        from lookalike.catalogue.formats.iceberg import current_metadata

        hint = self.prefix.read("metadata/version-hint.text") if "version-hint.text" in names else None
        return current_metadata(names, hint.decode(errors="replace") if hint else None, self.prefix.uri)

    def _iceberg(self, metadata: str, name: str) -> opening.Opened:
        from lookalike.catalogue.formats import iceberg

        copy = self.folder / metadata.rpartition("/")[2]
        Prefix(metadata, self.settings.stores).download("", copy, 0)
        return self.iceberg_table(iceberg.load_metadata(str(copy), name, iceberg.StoreIO(self.settings.stores)), name)

    def iceberg_table(self, table: IcebergTable, name: str) -> opening.Opened:
        """Open an Iceberg table with its files in one bucket."""
        from lookalike.catalogue.formats import iceberg

        place = parse(self.prefix.uri)
        bucket = Prefix(f"{place.scheme}://{place.authority}", self.settings.stores)
        root = self.folder / "objects"

        def fetch(uris: Sequence[str]) -> dict[str, str]:
            places = {uri: parse(uri) for uri in uris}
            if far := next((uri for uri, one in places.items() if one.authority != place.authority), None):
                raise CatalogueError(
                    f"catalogue.path: {far} is not in the bucket of {name}; move the table's files there"
                )
            keys = {uri: one.path.lstrip("/") for uri, one in places.items()}
            _download(bucket, root, dict.fromkeys(keys.values(), 0))
            return {uri: str(root / key) for uri, key in keys.items()}

        return opening.of_live_files(iceberg.find_files(table, name, fetch), self._shared(bucket, root))

    # ---- the parts

    def _opened(self, below: Prefix, root: Path) -> opening.Opened:
        found = opening.open_files(str(self.copy), self.settings.catalogue.encoding, self._shared(below, root))
        if found is None:
            raise CatalogueError(f"catalogue.path: there is no object '{self.prefix.uri}', and none below it")
        return found

    def _shared(self, below: Prefix, root: Path) -> InStore:
        return InStore(below, root, self.base, self.settings.warehouse.cache_bytes)

    def _data(self, folders: Sequence[str]) -> tuple[dict[str, int], bool]:
        """Return the names and sizes of all objects but pictures, and whether there are any of these.

        A folder at a time, since there may be millions of pictures; as a whole where the folders are many.
        """
        parts = ["", *folders] if len(folders) <= MOST_FOLDERS else [None]
        with ThreadPoolExecutor(prefix.STREAMS) as pool:
            found = list(pool.map(self._data_of, parts))
        return {name: size for sizes, _ in found for name, size in sizes.items()}, any(has for _, has in found)

    def _data_of(self, folder: str | None) -> tuple[dict[str, int], bool]:
        objects = self.prefix.objects(folder or "", recursive=folder != "")
        sizes = {name: one.size for name, one in objects.items() if not PICTURE.fullmatch(name)}
        return sizes, len(sizes) < len(objects)

    def _download(self, sizes: Mapping[str, int]) -> None:
        _download(self.prefix, self.copy, sizes)


def _download(below: Prefix, folder: Path, sizes: Mapping[str, int]) -> None:
    with ThreadPoolExecutor(prefix.STREAMS) as pool:
        for _ in pool.map(lambda name: below.download(name, folder / name, sizes[name]), sizes):
            pass
