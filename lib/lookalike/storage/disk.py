"""Name what a file system, or a limit of the system, refused in mid-run: one line, and what to do."""

from __future__ import annotations

import errno
import os
import re

from lookalike.errors import DiskError

_ADVICE = {
    errno.ENOSPC: "free bytes and inodes (df -h, df -i) where the warehouse, its copies and Spark's scratch folder lie",
    errno.EDQUOT: "free some of it, or have the quota raised",
    errno.EROFS: "mount it for writing",
    errno.EIO: "look into the log of the kernel or of the file server",
    errno.EFBIG: "raise the limit of the size of a file (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit of open files",
    errno.ENOMEM: "free memory, or run fewer tasks at a time",
    errno.ESTALE: "mount the file server's folder again",
    errno.EACCES: "give this user the right",
    errno.EPERM: "give this user the right",
    errno.ENOENT: "it was removed while the run used it, or no folder can be made there: give another",
}
_IN_TEXTS = {os.strerror(code): code for code in _ADVICE if code not in (errno.ENOENT, errno.EPERM)}
_IN_TEXTS["database or disk is full"] = errno.ENOSPC  # SQLite's words


def advice(error: OSError) -> str:
    """Return what to do about an error of the file system."""
    return _ADVICE.get(error.errno or 0, "repair that")


def advice_in(text: str) -> str | None:
    """Return what to do about what a library says of a file system; None where that refused nothing."""
    return next((_ADVICE[code] for said, code in _IN_TEXTS.items() if said in text), None)


def disk_error(error: OSError) -> DiskError:
    """Return the named error of a file operation of this process."""
    where = f" ({error.filename})" if error.filename else ""
    return _error(f"{error.strerror or error}{where}", advice(error))


def disk_error_in(text: str) -> DiskError | None:
    """Return the named error of a stack trace of a worker or the JVM; None where no file system refused anything."""
    for said, code in _IN_TEXTS.items():
        if said in text:
            # As Java puts it: `/folder/file (Read-only file system)`; as Python does: `Read-only file system: 'file'`.
            place = re.search(rf"(/[^\s:'()]+) \({said}\)|{said}: '([^'\n]+)'", text)
            return _error(f"{said} ({place[1] or place[2]})" if place else said, _ADVICE[code])
    return None


def _error(what: str, advised: str) -> DiskError:
    return DiskError(f"{what}; {advised}, and run again; what was published stays as it is")
