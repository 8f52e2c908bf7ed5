"""A warehouse that can be written. Only this module makes a release current, or removes one."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lookalike.errors import GateError, NewerVersionError, WarehouseError
from lookalike.storage import json_file
from lookalike.storage.disk import advice
from lookalike.storage.files import freed_bytes, sync_folders, write_atomic
from lookalike.warehouse import lock, sweeping
from lookalike.warehouse.cleaning import CleanUp, reasons_to_keep
from lookalike.warehouse.pointer import Pointer, moved, restored
from lookalike.warehouse.reading import ReadableWarehouse
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import Refused, ReleaseFolder, Staged
from lookalike.warehouse.shared_files import SharedFiles


class Warehouse(ReadableWarehouse):
    """A folder of releases, with what makes, publishes, changes and removes them."""

    _held: lock.WriteLock | None = None

    def check_writable(self) -> None:
        """Make the folder, and a file in it that goes at once; raises WarehouseError."""
        self._make(self.path)
        try:
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._unwritable(OSError(error.errno, error.strerror, str(self.path))) from None

    @contextmanager
    def writer(self, ttl: float) -> Iterator[lock.WriteLock]:
        """Hold the right to write, which only one run has; raises LockError. First sweep what killed runs left.

        A body that fails because another run has taken the lock, and removed what this one was writing, ends with
        LockError, whatever it raised.
        """
        self._make(self.path)
        with self._lock(ttl) as held:
            self._held = held
            try:
                self._swept()
                yield held
            except Exception:
                held.check()
                raise
            finally:
                self._held = None

    @contextmanager
    def stage(self) -> Iterator[Staged]:
        """Make the folders of a new release; remove them at the end if it was neither published nor refused."""
        release_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
        root, work = (self.path / kind / release_id for kind in ("releases", "work"))
        staged = Staged(root, work, parent=self._parent(), shared=self._shared_by(release_id))
        self._check_link()
        try:
            self._make(root, work)
            yield staged
        finally:
            with suppress(WarehouseError):  # the next run sweeps it
                self.shared.remove(work)
            if not self._may_be_live(release_id):
                self._discard(root)

    def publish(self, staged: Staged, record: ReleaseRecord) -> None:
        """Write `record` as release.json, make the release the current one, and remove the checkpoints.

        A release that a gate refused is set aside instead, and GateError raised. Raises LockError when another run
        has the lock now, WarehouseError when the disk cannot be written.
        """
        body, refusals = record.as_json(), record.refusals
        self._check_lock()
        try:
            if refusals:
                write_atomic(Refused(staged.root).record_path, body)
                self._set_aside(staged)
            else:
                self._complete(staged, body)
                self._point_to(staged)
        except OSError as error:
            raise self._unwritable(error) from None
        if refusals:
            raise GateError(
                f"not published, any previous release stays current: {'; '.join(refusals)}; the refused release is "
                f"in {self.name}/refused/{staged.release_id}"
            )
        with suppress(WarehouseError):  # the next run sweeps them
            self.shared.remove(self.checkpoints(staged.parent))

    def roll_back(self, release: ReleaseFolder) -> None:
        """Make `release` the current one in one step; raises WarehouseError, also when it is damaged or incomplete."""
        self.need_sound(release)
        self._check_link()
        try:
            self._point_to(release)
        except OSError as error:
            raise self._unwritable(error) from None

    def write_shown(self, database: str, release_ids: Sequence[str]) -> None:
        """Write down the releases that the views of a database, or a sink, may show: they are kept; raises OSError."""
        existing = [release_id for release_id in dict.fromkeys(release_ids) if self._exists(release_id)]
        self._put("VIEWS", json_file.sealed({**self.shown, database: existing}))

    def kept(self, keep: int, grace: float, but_for: Collection[str] = ()) -> dict[str, str]:
        """Return the releases that a clean-up keeps, and why, but for those that some keys of VIEWS alone hold.

        Raises WarehouseError when it cannot be known which release is current, or which ones views show.
        """
        self.need_current()
        ids = [release.release_id for release in self.releases()]
        recent = datetime.now(UTC) - timedelta(seconds=grace)
        shown = {holder: held for holder, held in self.shown.items() if holder not in but_for}
        return reasons_to_keep(ids, keep, self.pointer(), recent, shown)

    def clean(self, keep: int, grace: float) -> CleanUp:
        """Remove all releases but the `keep` newest and those that a reader may use, see cleaning.py.

        Raises WarehouseError when it cannot be known which release is current, or which ones views show.
        """
        kept = self.kept(keep, grace)
        removed = [release for release in self.releases() if release.release_id not in kept]
        try:
            freed = self._freed(removed)
            for release in removed:
                self._check_lock()  # a run that has taken it may have rolled back to one of these
                self._remove(release.root)
        except OSError as error:
            raise self._unwritable(error) from None
        return CleanUp(removed, kept, freed)

    # ---- what a warehouse in an object store does otherwise

    @contextmanager
    def _lock(self, ttl: float) -> Iterator[lock.WriteLock]:
        with lock.hold(self.path, ttl) as held:
            yield held

    def _shared_by(self, _release_id: str) -> SharedFiles:
        """Return how the tasks of the run that makes a release share files."""
        return self.shared

    def _put(self, name: str, data: bytes) -> None:
        """Replace CURRENT or VIEWS in one step, after a last look at the lock."""
        self._check_lock()
        write_atomic(self.path / name, data)

    def _complete(self, staged: Staged, body: bytes) -> None:
        """Write release.json, after all that it makes valid is on the disk: the files are since they were saved."""
        sync_folders(staged.root)
        write_atomic(staged.record_path, body)

    def _set_aside(self, staged: Staged) -> None:
        """Keep the refused release in the place of the one that was refused before."""
        refused = self.path / "refused"
        shutil.rmtree(refused, ignore_errors=True)
        self._make(refused)
        os.replace(staged.root, refused / staged.release_id)

    def _freed(self, releases: Sequence[ReleaseFolder]) -> int:
        return freed_bytes([release.root for release in releases])

    def _remove(self, root: Path) -> None:
        """Move the release out of `releases` in one step, so that no reader finds half of one, and delete it there."""
        grave = self.path / "work" / f"removed-{root.name}"
        grave.parent.mkdir(exist_ok=True)
        os.replace(root, grave)
        shutil.rmtree(grave, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed runs left, and swap the symlink if such a run did not."""
        try:
            current = self.current()
        except WarehouseError:  # until a rollback repairs the pointer, any release may be the current one
            return
        sweeping.sweep(self.path, self.checkpoints(current), self._may_be_live)
        link = self.path / "current"
        if current and (link.is_symlink() or not link.exists()) and link.resolve() != current.root.resolve():
            self._link(current)

    def _discard(self, root: Path) -> None:
        """Remove a release that did not become one."""
        shutil.rmtree(root, ignore_errors=True)

    # ---- the parts

    def _check_lock(self) -> None:
        if self._held:
            self._held.check()

    def _swept(self) -> None:
        try:
            self._sweep()
        except OSError as error:
            raise self._unwritable(error) from None

    def _point_to(self, release: ReleaseFolder) -> None:
        """Replace CURRENT, which decides, and then the symlink, which is for people and SQL."""
        was, now = self._pointer_to_replace(), datetime.now(UTC)
        if was is None:
            existing = [one.release_id for one in reversed(self.releases())]
            pointer = restored(release.release_id, now, existing)
        else:
            pointer = moved(was, release.release_id, now, self._exists)
        self._pointed_to = release.release_id
        self._put("CURRENT", pointer.as_json())
        self._link(release)

    def _pointer_to_replace(self) -> Pointer | None:
        try:
            return self.pointer()
        except NewerVersionError:  # its history would be lost
            raise
        except WarehouseError:  # damaged: a rollback repairs it
            return None

    def _link(self, release: ReleaseFolder) -> None:
        fresh = self.path / f".current.{secrets.token_hex(4)}"
        fresh.symlink_to(Path("releases") / release.release_id)
        os.replace(fresh, self.path / "current")

    def _parent(self) -> ReleaseFolder | None:
        """Return the release to build on; raises WarehouseError when the pointer to it was lost."""
        current = self.current()
        # A first run that was killed just before it wrote the pointer leaves a release without a parent.
        if current is None and any(_followed_another(release) for release in self.releases()):
            return self.need_current()
        return current

    def _check_link(self) -> None:
        link = self.path / "current"
        if link.exists() and not link.is_symlink():
            raise WarehouseError(f"{link} is not the symlink that releases swap; move it away")

    def _unwritable(self, error: OSError) -> WarehouseError:
        """The error of a write that failed; that of a full disk names no file."""
        return WarehouseError(
            f"warehouse.path: {error.filename or self.path} cannot be written ({error.strerror}); {advice(error)}"
        )

    def _make(self, *folders: Path) -> None:
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WarehouseError(
                f"warehouse.path: {self.path} cannot be written ({error.strerror}); {advice(error)}"
            ) from None


def _followed_another(release: ReleaseFolder) -> bool:
    try:
        return release.record().parent is not None
    except WarehouseError:  # damaged: the others tell
        return False
