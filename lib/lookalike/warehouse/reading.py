"""What a warehouse's readers ask: the current release, its pointer, the other releases, and their sizes.

    <warehouse>/releases/<release_id>/     the tables, the index and release.json, see release.py
    <warehouse>/CURRENT                    the id of the current release, replaced in one step, see pointer.py
    <warehouse>/current                    a symlink to that release, swapped by rename
    <warehouse>/refused/<release_id>/      the last release that a gate refused, kept for inspection
    <warehouse>/checkpoints/<release_id>/  vectors of unfinished runs on that release, see embedding/checkpoints.py
    <warehouse>/work/<release_id>/         what a run needs and the release does not
    <warehouse>/models/                    compiled models, shared by all releases
    <warehouse>/VIEWS                      {"<database>", "iceberg <namespace>": [the releases that they may show]}
    <warehouse>/iceberg/                   the catalog and the metadata of Iceberg tables, see sinks/iceberg.py
    <warehouse>/lookalike.duckdb           views for DuckDB, see sinks/duckdb.py
    <warehouse>/catalog/                   the metastore of these views, where Spark has none, see sql/metastore.py
    <warehouse>/LOCK.<n>                   the lock of the one run that may write, see lock.py

All files but CURRENT and VIEWS are written once and never changed.
"""

from __future__ import annotations

from pathlib import Path

from lookalike.errors import WarehouseError
from lookalike.storage import json_file
from lookalike.storage.files import tree_size
from lookalike.warehouse.location import local_folder
from lookalike.warehouse.pointer import Pointer
from lookalike.warehouse.release import Refused, ReleaseFolder
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles
from lookalike.warehouse.stored import parse


class ReadableWarehouse:
    """The folder that holds the releases and the pointer to the current one."""

    shared: SharedFiles = ON_DISK

    _pointed_to: str | None = None  # the release that this process has made current last

    def __init__(self, path: str) -> None:
        self.path = local_folder(path)
        self.name = str(self.path)  # for people

    @property
    def models(self) -> Path:
        """The folder of the compiled models, shared by all releases."""
        return self.path / "models"

    def checkpoints(self, parent: ReleaseFolder | None) -> Path:
        """Return the folder of the vectors that unfinished runs on the release `parent` have made."""
        return self.path / "checkpoints" / (parent.release_id if parent else "first")

    def current(self) -> ReleaseFolder | None:
        """Return the current release, None in a new warehouse; raises WarehouseError when the pointer is damaged."""
        pointer = self.pointer()
        if pointer is None:
            return None
        if not self._exists(pointer.release_id):
            raise WarehouseError(
                f"{self.name}/CURRENT names the release {pointer.release_id}, which is gone; roll back to another"
            )
        return self._release(pointer.release_id)

    def need_current(self) -> ReleaseFolder:
        """Return the current release; raises WarehouseError when there is none."""
        release = self.current()
        if release is None and self.releases():
            raise WarehouseError(f"{self.name}/CURRENT, which names the current release, is gone; roll back to one")
        if release is None:
            raise WarehouseError(f"warehouse.path: {self.name} holds no release yet; run `lookalike run` first")
        return release

    def pointer(self) -> Pointer | None:
        """Return the content of CURRENT, None in a new warehouse; raises WarehouseError when it is damaged."""
        path, advice = f"{self.name}/CURRENT", "`lookalike releases rollback RELEASE` repairs it"
        try:
            data = self._get("CURRENT")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise WarehouseError(f"{path} cannot be read ({error}); {advice}") from None
        return parse(Pointer, data, path, advice)

    @property
    def shown(self) -> dict[str, list[str]]:
        """The releases that views of each database, or sinks, may show; raises WarehouseError when VIEWS is damaged."""
        try:
            content = json_file.unsealed(self._get("VIEWS"))
            return {str(database): [str(one) for one in ids] for database, ids in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise WarehouseError(
                f"{self.name}/VIEWS cannot be read ({error}); remove it and run `lookalike releases publish`"
            ) from None

    def releases(self) -> list[ReleaseFolder]:
        """Return all complete releases, the oldest first."""
        roots = sorted((self.path / "releases").glob("*/release.json"))
        return [ReleaseFolder(path.parent, shared=self.shared) for path in roots]

    def refused(self) -> list[Refused]:
        """Return the refused releases that are still there: the last one."""
        records = sorted((self.path / "refused").glob("*/refused.json"))
        return [Refused(path.parent, shared=self.shared) for path in records]

    def find(self, release_id: str, *, refused: bool = False) -> ReleaseFolder:
        """Return the release of that id, or the only one with an id that begins so; raises WarehouseError.

        With `refused`, search the refused releases too: they can be shown, but never become current.
        """
        candidates: list[ReleaseFolder] = [*self.releases(), *(self.refused() if refused else ())]
        found = [release for release in candidates if release_id and release.release_id.startswith(release_id)]
        exact = [release for release in found if release.release_id == release_id]
        if len(exact or found) != 1:
            what = "several releases begin with" if found else "there is no release"
            raise WarehouseError(f"{self.name}: {what} '{release_id}'; `lookalike releases list` names them")
        return (exact or found)[0]

    def previous(self) -> ReleaseFolder:
        """Return the release to which a rollback goes from the current one; raises WarehouseError when there is none.

        That is the parent of the current one, not the last of CURRENT's history: after a rollback, the last one is the
        release that was rolled back from, and a second rollback would return to it.
        """
        current = self.need_current()
        parent = current.record().parent
        if parent is None:
            raise WarehouseError(
                f"{self.name}: no release was current before the first, {current.release_id}; "
                "name another, `lookalike releases list` names them"
            )
        if not self._exists(parent):
            raise WarehouseError(
                f"{self.name}: the release {parent}, which was current before {current.release_id}, is gone; "
                "name another, `lookalike releases list` names them"
            )
        return self._release(parent)

    def fetch(self, release: ReleaseFolder) -> ReleaseFolder:
        """Return a release of which all files are on this machine, for readers without Spark; raises WarehouseError."""
        return release

    def fetch_models(self) -> None:
        """Copy what this machine lacks of the models: here nothing; raises WarehouseError."""

    def problem(self, release: ReleaseFolder) -> str | None:
        """Return what is wrong with the files of a release, as names, sizes and footers tell; None if nothing is."""
        return release.outer_problem()

    def need_sound(self, release: ReleaseFolder) -> None:
        """Raise WarehouseError when a release is damaged or incomplete, as far as `problem` tells."""
        release.record()
        if (problem := self.problem(release)) is not None:
            raise WarehouseError(f"{release.root} is damaged ({problem}); roll back to another release")

    def place_of(self, _current: ReleaseFolder) -> str:
        """Return where readers find the current release."""
        return str(self.path / "current")

    def sizes(self, release: ReleaseFolder) -> dict[str, int]:
        """Return the bytes of each part of a release, by its name."""
        return {part.name: tree_size(part) for part in sorted(release.root.iterdir())}

    # ---- what a warehouse in an object store does otherwise

    def _get(self, name: str) -> bytes:
        """Return the bytes of CURRENT or VIEWS; raises OSError."""
        return json_file.read(self.path / name)

    def _release(self, release_id: str) -> ReleaseFolder:
        return ReleaseFolder(self.path / "releases" / release_id, shared=self.shared)

    # ---- the parts

    def _exists(self, release_id: str) -> bool:
        return self._release(release_id).record_path.is_file()

    def _may_be_live(self, release_id: str) -> bool:
        """Return whether a reader may read the release: also True when CURRENT cannot tell, so nothing is removed."""
        try:
            pointer = self.pointer()
        except WarehouseError:
            return True
        if pointer is None:  # a file server may fail to find what this run has just written
            return release_id == self._pointed_to
        return release_id in {pointer.release_id, *pointer.until}
