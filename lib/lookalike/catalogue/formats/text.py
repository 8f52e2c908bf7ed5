"""Open a file of text as it comes: packed or not, in UTF-8 or UTF-16 by its mark, or in another encoding."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedReader, FileIO, TextIOWrapper
from typing import Any, BinaryIO, TextIO, cast

import pyarrow as pa

from lookalike.catalogue.files import DataFile
from lookalike.catalogue.formats.rows import refusal
from lookalike.errors import CatalogueError

# Characters of a line, or of a field with line breaks: more are another kind of file, or a quote without its end.
MOST_CHARACTERS = 16 << 20

_SURROGATE = re.compile("[\ud800-\udfff]")

# What unpacks a file that begins so. All read parts that were packed one by one, and know an end that is cut off.
_UNPACKED: dict[bytes, Callable[[BufferedReader[FileIO]], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    **{b"BZh%d1AY&SY" % level: bz2.BZ2File for level in range(1, 10)},  # a header may begin with BZh
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda raw: pa.CompressedInputStream(raw, "zstd"),
}

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

_OTHER_KINDS = {
    b"PK\x03\x04": "is an Excel workbook or a ZIP file; save its sheet as 'CSV UTF-8', or unpack it",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook; save its sheet as 'CSV UTF-8'",
}


@contextmanager
def open_text(file: DataFile, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Give the text of a file, with its line ends as they are; raises CatalogueError, also for what is read of it.

    A mark at its beginning says more than `encoding`. A byte that is no text of it comes as a lone surrogate.
    """
    try:
        with BufferedReader(FileIO(file.path), 1 << 20) as raw:
            before = os.fstat(raw.fileno())
            with _unpacked(raw) as data:
                yield TextIOWrapper(
                    cast(BinaryIO, data), _encoding(data, file, encoding), errors="surrogateescape", newline=""
                )
            after = os.stat(file.path)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise refusal(file, "was written to while the run read it; run again when nothing writes to it")
    except FileNotFoundError:
        raise refusal(file, "is gone, or not seen on this machine; run again when all files are there") from None
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _cut_short(file, error) from None
    except UnicodeDecodeError as error:
        raise refusal(file, f"is not {error.encoding} to its end ({error.reason}); write it again") from None
    except UnicodeError as error:
        raise refusal(file, f"is not {encoding} ({error}); correct catalogue.encoding") from None
    except OSError as error:
        if error.errno is None:  # of what unpacks it
            raise _cut_short(file, error) from None
        raise refusal(file, f"cannot be read ({error.strerror}); give this user the right, or repair it") from None


def _cut_short(file: DataFile, error: Exception) -> CatalogueError:
    return refusal(file, f"is cut short or damaged ({error}); write it again")


def is_text(value: str) -> bool:
    """Return whether a text has no byte that was none of its encoding, and no half of a character of UTF-16."""
    return value.isascii() or not _SURROGATE.search(value)


def lines(text: TextIO) -> Iterator[str]:
    """Yield the lines of a text, one that is too long in parts."""
    return iter(partial(text.readline, MOST_CHARACTERS), "")


def _unpacked(raw: BufferedReader[FileIO]) -> BufferedReader[Any]:
    head = raw.peek(8)
    unpacked = next((unpack for start, unpack in _UNPACKED.items() if head.startswith(start)), None)
    return BufferedReader(unpacked(raw), 1 << 20) if unpacked else raw


def _encoding(data: BufferedReader[Any], file: DataFile, encoding: str) -> str:
    """Return the encoding of a file by its first bytes."""
    head = data.peek(1 << 10)
    if not head:
        raise refusal(file, "is empty; write it again, or remove it")
    for start, problem in _OTHER_KINDS.items():
        if head.startswith(start):
            raise refusal(file, problem)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if marked is None and encoding == "utf-8" and b"\0" in head[:16]:
        raise refusal(file, "begins with a NUL: is it UTF-16? set catalogue.encoding to utf-16-le, or save it as UTF-8")
    return marked or encoding
