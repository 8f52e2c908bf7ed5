"""The only module that makes data live: stage a release, publish it, point to it, roll back, clean up.

<warehouse>/releases/<release_id>/     the tables, the index and release.json, see release.py
<warehouse>/CURRENT                    the id of the current release, replaced in one step, see pointer.py
<warehouse>/current                    a symlink to that release, swapped by rename
<warehouse>/refused/<release_id>/      the last release that a gate refused, kept for inspection
<warehouse>/checkpoints/<release_id>/  vectors of unfinished runs on that release, see embedding/checkpoints.py
<warehouse>/work/<release_id>/         what a run needs and the release does not
<warehouse>/models/                    compiled models, shared by all releases
<warehouse>/VIEWS                      {"<database>": [the releases that its SQL views may show]}
<warehouse>/catalog/                   the metastore of these views, where Spark has none, see sql/metastore.py
<warehouse>/LOCK.<n>                   the one writer, see lock.py
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lookalike.errors import GateError, NewerVersionError, WarehouseError
from lookalike.storage.files import freed_bytes, sync_tree, tree_size, write_atomic
from lookalike.warehouse import lock
from lookalike.warehouse.pointer import FormerRelease, Pointer
from lookalike.warehouse.record import ReleaseRecord, parse
from lookalike.warehouse.release import Refused, ReleaseFolder, Staged


@dataclass(frozen=True)
class Cleaned:
    """What a clean-up did: the releases that went, those that stay and why, and the bytes that it gave back."""

    gone: list[ReleaseFolder]
    kept: dict[str, str]  # release id: reason; the oldest first
    freed: int


class Warehouse:
    """The folder that holds the releases and the pointer to the current one."""

    def __init__(self, path: str) -> None:
        self.path = _local(path)
        self.name = str(self.path)  # for people

    @property
    def models(self) -> Path:
        """Compiled models, shared by all releases."""
        return self.path / "models"

    def checkpoints(self, parent: ReleaseFolder | None) -> Path:
        """Return the folder of the vectors that unfinished runs on the release `parent` have made."""
        return self.path / "checkpoints" / (parent.release_id if parent else "first")

    # ---- reading

    def current(self) -> ReleaseFolder | None:
        """The current release, None in a new warehouse; raises WarehouseError when the pointer is damaged."""
        pointer = self.pointer()
        if pointer is None:
            return None
        release = self._release(pointer.release_id)
        if not release.record_path.is_file():
            raise WarehouseError(
                f"{self.name}/CURRENT names the release {pointer.release_id}, which is gone; roll back to another"
            )
        return release

    def need_current(self) -> ReleaseFolder:
        """The current release; raises WarehouseError when there is none."""
        release = self.current()
        if release is None and self.releases():
            raise WarehouseError(f"{self.name}/CURRENT, which names the current release, is gone; roll back to one")
        if release is None:
            raise WarehouseError(f"warehouse.path: {self.name} holds no release yet; run `lookalike run` first")
        return release

    def pointer(self) -> Pointer | None:
        """What CURRENT says, None in a new warehouse; raises WarehouseError when it is damaged."""
        path, advice = f"{self.name}/CURRENT", "restore it, or roll back to a release"
        try:
            data = self._get("CURRENT")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise WarehouseError(f"{path} cannot be read ({error}); {advice}") from None
        return parse(Pointer, data, path, advice)

    @property
    def shown(self) -> dict[str, list[str]]:
        """The releases that the SQL views of each database may show; raises WarehouseError when nobody can tell."""
        try:
            content = json.loads(self._get("VIEWS"))
            return {str(database): [str(one) for one in ids] for database, ids in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise WarehouseError(
                f"{self.name}/VIEWS cannot be read ({error}); remove it and run `lookalike releases publish-views`"
            ) from None

    def releases(self) -> list[ReleaseFolder]:
        """All complete releases, the oldest first."""
        roots = sorted((self.path / "releases").glob("*/release.json"))
        return [ReleaseFolder(path.parent) for path in roots]

    def refused(self) -> list[Refused]:
        """The releases that a gate refused and that are still here: the last one."""
        return [Refused(path.parent) for path in sorted(self._refused.glob("*/refused.json"))]

    def find(self, release_id: str, *, refused: bool = False) -> ReleaseFolder:
        """The complete release of that id, or of the only id that begins so; raises WarehouseError.

        With `refused`, to look at one and not to make it current, also among those that a gate refused.
        """
        candidates: list[ReleaseFolder] = [*self.releases(), *(self.refused() if refused else ())]
        found = [release for release in candidates if release.release_id.startswith(release_id)]
        exact = [release for release in found if release.release_id == release_id]
        if len(exact or found) != 1:
            what = "several releases begin with" if found else "there is no release"
            raise WarehouseError(f"{self.name}: {what} '{release_id}'; `lookalike releases list` names them")
        return (exact or found)[0]

    def previous(self) -> ReleaseFolder:
        """The release to go back to from the current one; raises WarehouseError when there is none.

        It is the one that was current when the current one was made, its parent, not the last of CURRENT's history:
        after a rollback that is the very release which had to go, and a second rollback would bring it back.
        """
        current = self.need_current()
        parent = current.record().parent
        if parent is None:
            raise WarehouseError(f"{self.name}: no release was current before the first, {current.release_id}")
        previous = self._release(parent)
        if not previous.record_path.is_file():
            raise WarehouseError(
                f"{self.name}: the release {parent}, which was current before {current.release_id}, is gone; "
                "name another, `lookalike releases list` names them"
            )
        return previous

    def fetch(self, release: ReleaseFolder | None) -> None:
        """Make sure that the files of a release, and all models, are in the folder `path`; raises WarehouseError."""

    def place_of(self, _current: ReleaseFolder) -> str:
        """Where readers find the current release."""
        return str(self.path / "current")

    def sizes(self, release: ReleaseFolder) -> dict[str, int]:
        """Bytes of each part of a release, by its name."""
        return {part.name: tree_size(part) for part in sorted(release.root.iterdir())}

    # ---- writing

    def check_writable(self) -> None:
        """Make the folder, and write into it; raises WarehouseError."""
        self._make(self.path)
        try:
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._unwritable(error) from None

    @contextmanager
    def writer(self, ttl: float) -> Iterator[lock.Held]:
        """The right to write, as the only one; raises LockError. What dead runs left behind is swept first."""
        self._make(self.path)
        with self._lock(ttl) as held:
            try:
                self._sweep()
            except OSError as error:
                raise self._unwritable(error) from None
            yield held

    @contextmanager
    def stage(self) -> Iterator[Staged]:
        """Folders for a new release. What was neither published nor refused when the context ends is removed."""
        release_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
        root, work = (self.path / kind / release_id for kind in ("releases", "work"))
        staged = Staged(root, work, parent=self._parent())
        self._check_link()
        try:
            self._make(root, work)
            yield staged
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if not self._may_be_live(release_id):
                shutil.rmtree(root, ignore_errors=True)

    def publish(self, staged: Staged, record: ReleaseRecord, held: lock.Held) -> None:
        """Write `record` as release.json, then make the release the current one, and remove the checkpoints.

        A release that a gate refuses is set aside instead, and GateError raised. Raises LockError when another run
        has taken over, WarehouseError when the disk does not let us write.
        """
        body, refusals = record.as_json(), record.refusals
        held.check()
        try:
            if refusals:
                write_atomic(Refused(staged.root).record_path, body)
                self._set_aside(staged)
            else:
                self._complete(staged, body)
                held.check()
                self._point_to(staged)
        except OSError as error:
            raise self._unwritable(error) from None
        if refusals:
            raise GateError(
                f"not published, any previous release stays current: {'; '.join(refusals)}; the refused release is "
                f"in {self.name}/refused/{staged.release_id}"
            )
        shutil.rmtree(self.checkpoints(staged.parent), ignore_errors=True)

    def roll_back(self, release: ReleaseFolder) -> None:
        """Make `release` the current one: one pointer swap; raises WarehouseError, also when it is damaged."""
        release.record()
        self._check_link()
        try:
            self._point_to(release)
        except OSError as error:
            raise self._unwritable(error) from None

    def note_shown(self, database: str, release_ids: Sequence[str]) -> None:
        """Keep these releases for the SQL views of a database; raises OSError."""
        there = [one for one in dict.fromkeys(release_ids) if self._release(one).record_path.is_file()]
        self._put("VIEWS", json.dumps({**self.shown, database: there}).encode())

    def clean(self, keep: int, grace: float) -> Cleaned:
        """Remove all but the `keep` newest releases; raises WarehouseError when nobody can tell what is current.

        The current one stays, and so does one that was current, and may have been named to a reader, within the
        last `grace` seconds, and one that SQL views may show.
        """
        self.need_current()
        releases = self.releases()
        kept = self._kept(releases, keep, grace)
        gone = [release for release in releases if release.release_id not in kept]
        try:
            freed = self._freed(gone)
            for release in gone:
                self._remove(release.root)
        except OSError as error:
            raise self._unwritable(error) from None
        return Cleaned(gone, kept, freed)

    # ---- the parts

    @contextmanager
    def _lock(self, ttl: float) -> Iterator[lock.Held]:
        with lock.hold(self.path, ttl) as held:
            yield held

    def _get(self, name: str) -> bytes:
        """The bytes of CURRENT or VIEWS; raises FileNotFoundError."""
        return (self.path / name).read_bytes()

    def _put(self, name: str, data: bytes) -> None:
        """Replace them in one step."""
        write_atomic(self.path / name, data)

    def _complete(self, staged: Staged, body: bytes) -> None:
        """The tables' bytes are on the disk before anything says that they are whole."""
        sync_tree(staged.root)
        write_atomic(staged.record_path, body)

    def _freed(self, releases: Sequence[ReleaseFolder]) -> int:
        return freed_bytes([release.root for release in releases])

    @property
    def _refused(self) -> Path:
        return self.path / "refused"

    def _release(self, release_id: str) -> ReleaseFolder:
        return ReleaseFolder(self.path / "releases" / release_id)

    def _kept(self, releases: list[ReleaseFolder], keep: int, grace: float) -> dict[str, str]:
        """The first of the reasons for which each release stays, if it does."""
        pointer, now = self.pointer(), datetime.now(UTC)
        newest = releases[max(0, len(releases) - keep) :]
        reasons = {release.release_id: f"of the {keep} newest" for release in newest}
        if pointer:
            for release_id, until in pointer.until.items():
                if until >= now - timedelta(seconds=grace):
                    reasons.setdefault(release_id, f"current until {until:%Y-%m-%d %H:%M}, within warehouse.grace")
            reasons[pointer.release_id] = "current"
        for database, shown in self.shown.items():
            for release_id in shown:
                reasons.setdefault(release_id, f"shown by the views of the database {database}")
        ids = (release.release_id for release in releases)
        return {release_id: reasons[release_id] for release_id in ids if release_id in reasons}

    def _point_to(self, release: ReleaseFolder) -> None:
        """The pointer first, which is the truth; the symlink, for people and SQL, after it."""
        now = datetime.now(UTC)
        was = self._pointer_or_none()
        earlier: list[FormerRelease] = []
        if was:
            seen = {release.release_id}  # each release once, with its latest time; those that were removed no more
            for former in (FormerRelease(release_id=was.release_id, until=now), *was.earlier):
                if former.release_id not in seen and self._release(former.release_id).record_path.is_file():
                    earlier.append(former)
                    seen.add(former.release_id)
        self._put("CURRENT", Pointer(release_id=release.release_id, since=now, earlier=tuple(earlier)).as_json())
        self._link(release)

    def _pointer_or_none(self) -> Pointer | None:
        try:
            return self.pointer()
        except NewerVersionError:  # not ours to replace
            raise
        except WarehouseError:  # damaged: a rollback replaces it
            return None

    def _link(self, release: ReleaseFolder) -> None:
        fresh = self.path / f".current.{secrets.token_hex(4)}"
        fresh.symlink_to(Path("releases") / release.release_id)
        os.replace(fresh, self.path / "current")

    def _set_aside(self, staged: Staged) -> None:
        """Only the last refused release is kept."""
        shutil.rmtree(self._refused, ignore_errors=True)
        self._make(self._refused)
        os.replace(staged.root, self._refused / staged.release_id)

    def _remove(self, root: Path) -> None:
        """Out of sight in one step, then file by file: nobody lists half a release."""
        grave = self.path / "work" / f"removed-{root.name}"
        grave.parent.mkdir(exist_ok=True)
        os.replace(root, grave)
        shutil.rmtree(grave, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what runs that were killed left behind, and finish the swap of the symlink; needs the lock."""
        try:
            current = self.current()
        except WarehouseError:  # nobody can tell what is live until a rollback mends the pointer: nothing is removed
            return
        shutil.rmtree(self.path / "work", ignore_errors=True)
        shutil.rmtree(self.path / "staging", ignore_errors=True)  # the checkpoints of a version before 0.2.0
        for checkpoints in (self.path / "checkpoints").glob("*"):
            if checkpoints != self.checkpoints(current):
                shutil.rmtree(checkpoints, ignore_errors=True)
        for root in (self.path / "releases").glob("*"):
            if self._is_unfinished(ReleaseFolder(root)):
                shutil.rmtree(root, ignore_errors=True)
        names = (".CURRENT.*", ".VIEWS.*", ".current.*", "models/.*")
        for leftover in (path for name in names for path in self.path.glob(name)):
            leftover.unlink(missing_ok=True)
        link = self.path / "current"
        if current and (link.is_symlink() or not link.exists()) and link.resolve() != current.root.resolve():
            self._link(current)

    def _parent(self) -> ReleaseFolder | None:
        """The release to build upon; raises WarehouseError when the pointer to it was lost."""
        current = self.current()
        # A first run that was killed just before it wrote the pointer leaves a release without a parent.
        if current is None and any(release.record().parent for release in self.releases()):
            return self.need_current()
        return current

    def _is_unfinished(self, release: ReleaseFolder) -> bool:
        """A complete release is never swept: a pointer written by hand forgets which ones were live."""
        return not release.record_path.is_file() and not self._may_be_live(release.release_id)

    def _check_link(self) -> None:
        link = self.path / "current"
        if link.exists() and not link.is_symlink():
            raise WarehouseError(f"{link} is not the symlink that releases swap; move it away")

    def _unwritable(self, error: OSError) -> WarehouseError:
        """A full disk has no file's name."""
        return WarehouseError(f"warehouse.path: {error.filename or self.path} cannot be written ({error.strerror})")

    def _make(self, *folders: Path) -> None:
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WarehouseError(
                f"warehouse.path: {self.path} cannot be written ({error.strerror}); give a folder that can"
            ) from None

    def _may_be_live(self, release_id: str) -> bool:
        """True also when nobody can tell: what may be live is not removed."""
        try:
            pointer = self.pointer()
        except WarehouseError:
            return True
        return pointer is not None and release_id in {pointer.release_id, *pointer.until}


# A scheme: `hdfs:/x` is no folder named "hdfs:". One letter is a drive.
_SCHEME = re.compile(r"([A-Za-z][\w+.-]+):/")


def _local(path: str) -> Path:
    scheme = _SCHEME.match(path)
    if scheme is None:
        try:
            return Path(path).expanduser().absolute()
        except RuntimeError as error:  # ~nobody
            raise WarehouseError(f"warehouse.path: {path}: {error}") from None
    parts = urlsplit(path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise WarehouseError(
            f"warehouse.path: {path} is neither a folder nor in S3, Google Cloud Storage or Azure; give one"
        )
    return Path(unquote(parts.path))
