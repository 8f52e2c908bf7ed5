"""Read pictures from object stores and HDFS, through pyarrow's file systems."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from urllib.parse import urlsplit

from pyarrow import fs

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage import uri
from lookalike.storage.local import check_size, read_limited


def read(location: uri.Location, limits: config.ImageSettings, stores: config.StoreSettings) -> bytes:
    """Return the bytes of an object; raises ImageError."""
    with as_image_errors(), _picture_store(location, limits, stores).open_input_file(key(location)) as file:
        size = file.size()
        check_size(size, limits)
        return read_limited(file.read, limits, size)


def version(location: uri.Location, limits: config.ImageSettings, stores: config.StoreSettings) -> str:
    """Return size and modification time in ns; raises ImageError."""
    with as_image_errors():
        info = _picture_store(location, limits, stores).get_file_info(key(location))
    if info.type != fs.FileType.File:
        raise ImageError("not_found", "no such object")
    return f"{info.size}-{info.mtime_ns}"


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
    owner = location.authority.partition("@")[2] if location.scheme == "abfs" else ""
    return _open_store(
        location.scheme, location.authority if location.scheme == "hdfs" else owner, times, stores, tries
    )


@lru_cache(maxsize=16)  # each keeps its connections open
def _open_store(
    scheme: str, owner: str, times: tuple[float, float], stores: config.StoreSettings, tries: int
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
        )
    if scheme == "gs":
        endpoint = urlsplit(stores.gs_endpoint) if stores.gs_endpoint else None
        return fs.GcsFileSystem(
            anonymous=stores.gs_anonymous,
            endpoint_override=endpoint.netloc if endpoint else None,
            scheme=endpoint.scheme if endpoint else "https",
            retry_time_limit=timedelta(seconds=request),
        )
    if scheme == "abfs":
        return _azure(owner, stores)
    host, _, port = owner.partition(":")
    return fs.HadoopFileSystem(host or "default", int(port or 0))


def _azure(owner: str, stores: config.StoreSettings) -> fs.FileSystem:
    account, _, authority = owner.partition(".")
    endpoint = urlsplit(stores.azure_endpoint) if stores.azure_endpoint else None
    authorities = {
        "blob_storage_authority": endpoint.netloc if endpoint else f".{authority.replace('dfs.', 'blob.', 1)}",
        "dfs_storage_authority": endpoint.netloc if endpoint else f".{authority}",
    }
    schemes = {"blob_storage_scheme": endpoint.scheme, "dfs_storage_scheme": endpoint.scheme} if endpoint else {}
    key = os.environ.get("AZURE_STORAGE_KEY")  # without one: the platform's identity, or `az login`
    return fs.AzureFileSystem(account_name=account, account_key=key, **authorities, **schemes)


# Patterns in the messages of the clouds' libraries, which pyarrow passes on as text, and the reason each one means.
# The first that matches counts: a message may match two.
_REASONS = (
    (re.compile(r"(?i)not.?found|no.?such|does not exist|not a (regular )?file|\b404\b"), "not_found"),
    (
        re.compile(r"(?i)access.?denied|forbidden|unauthori|permission|credential|signature|accesskey|\b40[13]\b"),
        "forbidden",
    ),
    (re.compile(r"(?i)curlcode: 28|timed? ?out|timeout|deadline"), "timeout"),
)


@contextmanager
def as_image_errors() -> Iterator[None]:
    """Turn an error of a store into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("not_found", "no such object") from None
    except PermissionError as error:
        raise ImageError("forbidden", str(error)) from None
    except ValueError as error:  # pyarrow's ArrowInvalid: a bucket of one letter
        raise ImageError("bad_uri", str(error)) from None
    except Exception as error:  # noqa: BLE001 - pyarrow passes on errors of a dozen libraries
        text = str(error) or type(error).__name__
        reason = next((name for pattern, name in _REASONS if pattern.search(text)), "server_error")
        raise ImageError(reason, "no such object" if reason == "not_found" else text) from None
