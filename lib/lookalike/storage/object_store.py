"""Pictures in object stores and HDFS, through pyarrow's file systems. No Spark."""

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


def read(place: uri.Location, limits: config.ImageSettings, stores: config.StoreSettings) -> bytes:
    """The bytes of an object; raises ImageError."""
    with as_image_errors(), _store(place, limits, stores).open_input_file(key(place)) as file:
        size = file.size()
        check_size(size, limits)
        return read_limited(file.read, limits, size)


def version(place: uri.Location, limits: config.ImageSettings, stores: config.StoreSettings) -> str:
    """Size and modification time in ns; raises ImageError."""
    with as_image_errors():
        info = _store(place, limits, stores).get_file_info(key(place))
    if info.type != fs.FileType.File:
        raise ImageError("not_found", "no such object")
    return f"{info.size}-{info.mtime_ns}"


def key(place: uri.Location) -> str:
    """What pyarrow calls the place."""
    if place.scheme == "hdfs":
        return place.path
    return f"{place.authority.partition('@')[0]}{place.path}"


def _store(place: uri.Location, limits: config.ImageSettings, stores: config.StoreSettings) -> fs.FileSystem:
    return open_store(place, (limits.connect_timeout, limits.read_timeout), stores, 1)  # stores.py tries again


# Seconds to connect and for a request, and tries, of what is no picture: tables, models and the index.
FILE_TIMES = (10.0, 60.0)
FILE_TRIES = 5


def open_store(
    place: uri.Location, times: tuple[float, float], stores: config.StoreSettings, tries: int
) -> fs.FileSystem:
    """The store that holds the place; raises OSError or ValueError.

    Credentials are those of the environment or the platform, as each cloud's own tools find them.
    """
    # An Azure account and an HDFS name node are stores of their own; all buckets of the others are one.
    owner = place.authority.partition("@")[2] if place.scheme == "abfs" else ""
    return _open_store(place.scheme, place.authority if place.scheme == "hdfs" else owner, times, stores, tries)


@lru_cache(maxsize=16)  # each holds its connections
def _open_store(
    scheme: str, owner: str, times: tuple[float, float], stores: config.StoreSettings, tries: int
) -> fs.FileSystem:
    connect, whole = times
    if scheme == "s3":
        return fs.S3FileSystem(
            anonymous=stores.s3_anonymous,
            region=stores.s3_region,
            endpoint_override=stores.s3_endpoint,
            connect_timeout=connect,
            request_timeout=whole,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=tries),
            check_directory_existence_before_creation=False,
        )
    if scheme == "gs":
        endpoint = urlsplit(stores.gs_endpoint) if stores.gs_endpoint else None
        return fs.GcsFileSystem(
            anonymous=stores.gs_anonymous,
            endpoint_override=endpoint.netloc if endpoint else None,
            scheme=endpoint.scheme if endpoint else "https",
            retry_time_limit=timedelta(seconds=whole),
        )
    if scheme == "abfs":
        return _azure(owner, stores)
    host, _, port = owner.partition(":")
    return fs.HadoopFileSystem(host or "default", int(port or 0))


def _azure(owner: str, stores: config.StoreSettings) -> fs.FileSystem:
    account, _, authority = owner.partition(".")
    endpoint = urlsplit(stores.azure_endpoint) if stores.azure_endpoint else None
    places = {
        "blob_storage_authority": endpoint.netloc if endpoint else f".{authority.replace('dfs.', 'blob.', 1)}",
        "dfs_storage_authority": endpoint.netloc if endpoint else f".{authority}",
    }
    schemes = {"blob_storage_scheme": endpoint.scheme, "dfs_storage_scheme": endpoint.scheme} if endpoint else {}
    key = os.environ.get("AZURE_STORAGE_KEY")  # without one: the platform's identity, or `az login`
    return fs.AzureFileSystem(account_name=account, account_key=key, **places, **schemes)


# What the clouds' libraries say, and pyarrow passes on as text. In order: a message may name two.
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
    """What a store says, as an ImageError."""
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
    except Exception as error:  # noqa: BLE001 - a dozen libraries behind one door
        text = str(error) or type(error).__name__
        reason = next((name for sign, name in _REASONS if sign.search(text)), "server_error")
        raise ImageError(reason, "no such object" if reason == "not_found" else text) from None
