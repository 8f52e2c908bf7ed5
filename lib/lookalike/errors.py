"""Every error that a user can meet: a name, one line, and the exit code of the job.

The line says what happened, to what, and what to do about it.
"""

import re
from typing import ClassVar

from lookalike.safe_text import LONGEST_LINE, one_line


class LookalikeError(Exception):
    """Base of all named errors; the job ends with its `exit_code`. Its line is safe to print."""

    exit_code = 1
    longest_line: ClassVar[int] = LONGEST_LINE

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message, self.longest_line))


class ConfigError(LookalikeError):
    """A setting is unknown, has a wrong value, or contradicts another."""

    exit_code = 2


class CatalogueError(LookalikeError):
    """The catalogue cannot be read, or breaks its contract."""

    exit_code = 2


class ModelError(LookalikeError):
    """The weights or the compiled network cannot be read, or are not of this architecture."""

    exit_code = 2


class WarehouseError(LookalikeError):
    """The warehouse cannot be read or written."""

    exit_code = 2


class SinkError(LookalikeError):
    """A sink, such as tables of Iceberg, could not be made to show a release, which is current all the same."""

    longest_line = 4 * LONGEST_LINE  # it repeats the line of each sink that failed


class ViewsError(SinkError):
    """The SQL views could not be moved to a release, which is current all the same."""


class ExportError(LookalikeError):
    """A release could not be exported; what an earlier export left stays as it is."""


class NewerVersionError(WarehouseError):
    """A newer lookalike wrote a file of the warehouse; this one cannot read it."""


class ReleaseRemovedError(WarehouseError):
    """The release that a reader holds open was removed since; the warehouse has to be opened again."""


class LockError(LookalikeError):
    """Another run writes to the warehouse."""


class DecoderError(LookalikeError):
    """The process that decodes pictures does not start."""


class SessionError(LookalikeError):
    """Spark does not start."""


class ClusterError(LookalikeError):
    """Spark's settings, or one of the executors, cannot run the job."""

    exit_code = 2


class DiskError(LookalikeError):
    """A disk, a file server, a right or a limit of the system failed in mid-run."""


class SparkError(LookalikeError):
    """Spark gave up in mid-run: a task failed in every try, or its JVM or a worker ended."""


class SchemaError(LookalikeError):
    """A table does not have the columns that its contract names: a defect of this library, or a damaged release."""


class ShardError(LookalikeError):
    """An Annoy shard is damaged, or was built for other dimensions."""


class CountError(LookalikeError):
    """Rows were lost, or came twice, between two steps or between the tables of a release."""

    exit_code = 2


class ManifestError(LookalikeError):
    """The index's manifest is damaged, or of another version."""


class QueryError(LookalikeError):
    """A question that a release cannot answer: an unknown item or group, a vector of another length."""

    exit_code = 2


class UnknownItemError(QueryError):
    """Items that a release has no embedding of; `item_ids` has them all, its line the first."""

    def __init__(self, message: str = "", item_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.item_ids = item_ids


class SiteError(LookalikeError):
    """The site of `lookalike browse` cannot listen where it should."""

    exit_code = 2


class OutputError(LookalikeError):
    """What the command prints cannot be written, for example to a file on a full disk."""


class GateError(LookalikeError):
    """A gate refused the release; the previous one stays current."""

    exit_code = 3
    longest_line = 8 * LONGEST_LINE  # it repeats the line of each gate that refused


_IN_A_TRACE = re.compile(r"^lookalike\.errors\.(\w+): (.*)$", re.MULTILINE)


def raised_in_worker(trace: str) -> LookalikeError | None:
    """Return the named error that a task of Spark ended with, by the stack trace that comes back of it."""
    found = _IN_A_TRACE.search(trace)
    kind = globals().get(found[1]) if found else None
    return kind(found[2]) if found and isinstance(kind, type) and issubclass(kind, LookalikeError) else None
