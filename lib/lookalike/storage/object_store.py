"""Read pictures from object stores and HDFS, through pyarrow's file systems."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from lookalike import config
from lookalike.errors import ConfigError
from lookalike.failures import ImageError
from lookalike.storage import azure, bounded, uri
from lookalike.storage.local import check_size, read_limited

T = TypeVar("T")


def read(location: uri.Location, limits: config.ImageSettings, stores: config.StoreSettings) -> bytes:
    """Return the bytes of an object; raises ImageError."""

    def read_all() -> bytes:
        store, name = _picture_store(location, limits, stores), key(location)
        with whole(store.open_input_file(name), store, name) as file:
            size = file.size()
            check_size(size, limits)
            return read_limited(file.read, limits, size)

    return _bounded(read_all, location, limits)


def version(location: uri.Location, limits: config.ImageSettings, stores: config.StoreSettings) -> str:
    """Return size and modification time in ns; raises ImageError."""

    def ask() -> fs.FileInfo:
        return info_of(_picture_store(location, limits, stores), key(location))

    info = _bounded(ask, location, limits)
    if info.type != fs.FileType.File:
        raise ImageError("not_found", "no such object")
    return f"{info.size}-{info.mtime_ns}"


def _bounded(function: Callable[[], T], location: uri.Location, limits: config.ImageSettings) -> T:
    """Call what asks a store: connecting, asking and reading together have images.read_timeout."""
    with as_image_errors(key(location)):
        return bounded.call(function, limits.read_timeout, f"{location.scheme} {uri.store_host(location)}")


# To the client of S3, an answer that ends in its headers is one about an object of no bytes.
_CUT = "the answer was cut short: it may say nothing of the object's bytes"


def info_of(store: fs.FileSystem, name: str) -> fs.FileInfo:
    """Return what a store says of an object; raises OSError where its answer was cut short."""
    info = store.get_file_info(name)
    if info.type == fs.FileType.File and not info.size:
        info = store.get_file_info(name)
        if not info.size and (info.mtime_ns or 0) <= 0:
            raise OSError(_CUT)
    return info


def whole(file: pa.NativeFile, store: fs.FileSystem, name: str) -> pa.NativeFile:
    """Return an object that was opened; raises OSError where the answer about it was cut short."""
    if int((file.metadata() or {}).get("Content-Length", 1)) == 0 and info_of(store, name).size:
        file.close()
        raise OSError(_CUT)
    return file


def key(location: uri.Location) -> str:
    """Return pyarrow's name of a location."""
    if location.scheme == "hdfs":
        return location.path
    return f"{location.authority.partition('@')[0]}{location.path}"


def _picture_store(location: uri.Location, limits: config.ImageSettings, stores: config.StoreSettings) -> fs.FileSystem:
    return open_store(location, (limits.connect_timeout, limits.read_timeout), stores, 1)  # ImageReader retries


# For tables, models and the index: seconds to connect and seconds of a request, and the number of tries.
FILE_TIMEOUTS = (10.0, 60.0)
FILE_TRIES = 5


def open_store(
    location: uri.Location, times: tuple[float, float], stores: config.StoreSettings, tries: int
) -> fs.FileSystem:
    """Return the file system that holds a location; `times` are seconds to connect and of a request.

    Credentials come from the environment or the platform, as each cloud's own tools find them. Raises OSError or
    ValueError.
    """
    # Each Azure account and each HDFS name node needs a client of its own; elsewhere one serves all buckets.
    return _open_store(location.scheme, uri.store_host(location), times, stores, tries)


@lru_cache(maxsize=16)  # each keeps its connections open
def _open_store(
    scheme: str, host: str, times: tuple[float, float], stores: config.StoreSettings, tries: int
) -> fs.FileSystem:
    connect, request = times
    if scheme == "s3":
        return fs.S3FileSystem(
            anonymous=stores.s3_anonymous,
            region=stores.s3_region,
            endpoint_override=stores.s3_endpoint,
            connect_timeout=connect,
            request_timeout=request,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=tries),
            check_directory_existence_before_creation=False,
            allow_delayed_open=True,  # a file of less than 10 MB is one request in place of three
        )
    if scheme == "gs":
        endpoint = urlsplit(stores.gs_endpoint) if stores.gs_endpoint else None
        return fs.GcsFileSystem(
            anonymous=stores.gs_anonymous,
            endpoint_override=endpoint.netloc if endpoint else None,
            scheme=endpoint.scheme if endpoint else "https",
            retry_time_limit=timedelta(seconds=request),
        )
    return azure.open_account(host, stores) if scheme == "abfs" else _hadoop(host)


def _hadoop(name_node: str) -> fs.FileSystem:
    host, _, port = name_node.partition(":")
    try:
        return fs.HadoopFileSystem(host or "default", int(port or 0))
    except OSError as error:
        raise as_set_up(error) from None


def as_set_up(error: OSError) -> OSError:
    """Return the error that names what to install, where `error` means that in ten thousand characters."""
    # "Unable to load libjvm", or libhdfs, and "Prior attempt to load libhdfs failed" from then on
    return PermissionError(NO_HADOOP) if "to load lib" in str(error) else error


NO_HADOOP = "there is no Hadoop client here: install one, and set JAVA_HOME, HADOOP_HOME and CLASSPATH on every worker"


def check_set_up(text: str, stores: config.StoreSettings) -> None:
    """Raise ConfigError where `text` is in HDFS and this machine has no Hadoop client; needs no name node."""
    location = uri.parse(text)
    if location.scheme != "hdfs":
        return
    try:
        bounded.call(lambda: open_store(location, FILE_TIMEOUTS, stores, 1), FILE_TIMEOUTS[1], "check of Hadoop")
    except PermissionError as error:
        if str(error) == NO_HADOOP:
            raise ConfigError(f"{text} cannot be read: {error}") from None
    except (OSError, ValueError):  # of the name node: the run says it, picture by picture
        return


# How the clouds' libraries give the code of an error in a message: a name, an HTTP status, or both.
_CODES = (
    re.compile(r"AWS Error (?P<name>[A-Z0-9_]+)(?: \(HTTP status (?P<status>[0-9]{3})\))? during \w+ operation"),
    re.compile(
        r"google::cloud::Status\((?P<name>[A-Z_]+):(?:.{0,200}?status code: (?P<status>[0-9]{3})\b)?", re.DOTALL
    ),
    re.compile(r"Azure Error: \[(?P<name>\w*)\](?: (?P<status>[0-9]{3})\b)?"),
)
_NAMES = {
    "not_found": {"NOT_FOUND", "NO_SUCH_KEY", "NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND"},
    "forbidden": {
        "ACCESS_DENIED",
        "INVALID_ACCESS_KEY_ID",
        "INVALID_CLIENT_TOKEN_ID",
        "INVALID_SIGNATURE",
        "MISSING_AUTHENTICATION_TOKEN",
        "PERMISSION_DENIED",
        "REQUEST_EXPIRED",
        "SIGNATURE_DOES_NOT_MATCH",
        "UNAUTHENTICATED",
        "UNRECOGNIZED_CLIENT",
    },
    "timeout": {"DEADLINE_EXCEEDED", "REQUEST_TIMEOUT"},
}
_STATUSES = {"not_found": {"404", "410"}, "forbidden": {"401", "403"}, "timeout": {"408", "504"}}


def reason_of(text: str, name: str = "") -> str:
    """Return the reason that a store's error means, by its code; `name`, the object's, may hold any words."""
    found = next(filter(None, (code.search(text.replace(name, "") if name else text) for code in _CODES)), None)
    if found is None:  # then it is Arrow's own: a bucket or a folder
        return "not_found" if text.startswith("Not a regular file") else "server_error"
    if found["name"] == "NO_SUCH_UPLOAD":  # it is complete already: the answer that said so was lost
        return "server_error"
    for reason in ("not_found", "forbidden", "timeout"):
        if found["status"] in _STATUSES[reason] or found["name"] in _NAMES[reason]:
            return reason
    slow = found["name"] == "NETWORK_CONNECTION" and "curlCode: 28," in text[found.end() :]
    return "timeout" if slow else "server_error"


@contextmanager
def as_image_errors(name: str = "") -> Iterator[None]:
    """Turn an error of a store about the object `name` into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("not_found", "no such object") from None
    except PermissionError as error:
        raise ImageError("forbidden", str(error)) from None
    except TimeoutError as error:
        raise ImageError("timeout", str(error)) from None
    except Exception as error:  # noqa: BLE001 - pyarrow passes on errors of a dozen libraries
        text = str(error)[:2000] or type(error).__name__
        if isinstance(error, ValueError) and not any(code.search(text) for code in _CODES):
            raise ImageError("bad_uri", text) from None  # pyarrow's ArrowInvalid: a bucket of one letter
        reason = reason_of(text, name)
        raise ImageError(reason, "no such object" if reason == "not_found" else text) from None
