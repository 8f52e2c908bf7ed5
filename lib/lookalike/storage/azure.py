"""Azure's storage accounts: which host an account has, and pyarrow's client of it, opened safely."""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
import sys
from functools import lru_cache
from urllib.parse import urlsplit

from pyarrow import fs

from lookalike import config

# Seconds for the platform to give an identity: its metadata server, `az`, and the others that are asked in turn.
IDENTITY_SECONDS = 60


def open_account(host: str, stores: config.StoreSettings) -> fs.FileSystem:
    """Return the client of the account `name.dfs.suffix`; raises PermissionError without usable credentials."""
    key = os.environ.get("AZURE_STORAGE_KEY") or None
    endpoint = stores.azure_endpoint or ""
    if key is not None:
        _check_key(key)
    elif not _has_identity(os.getpid(), host, endpoint):
        raise PermissionError("no credentials for Azure: set AZURE_STORAGE_KEY, or give this machine an identity")
    return _client(host, endpoint, key)


def _client(host: str, endpoint: str, key: str | None) -> fs.FileSystem:
    account, _, authority = host.partition(".")
    if not endpoint:
        return fs.AzureFileSystem(
            account_name=account,
            account_key=key,
            blob_storage_authority=f".{authority.replace('dfs.', 'blob.', 1)}",
            dfs_storage_authority=f".{authority}",
        )
    url = urlsplit(endpoint)
    return fs.AzureFileSystem(
        account_name=account,
        account_key=key,
        blob_storage_authority=url.netloc,
        dfs_storage_authority=url.netloc,
        blob_storage_scheme=url.scheme,
        dfs_storage_scheme=url.scheme,
    )


def _check_key(key: str) -> None:
    """Raise PermissionError for a key that is no base64, at which pyarrow's client ends the process."""
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise PermissionError("AZURE_STORAGE_KEY is not a key: it is not base64") from None


@lru_cache(maxsize=16)
def _has_identity(_process: int, host: str, endpoint: str) -> bool:
    """Return whether the platform gives an identity, by asking for one in a process of its own.

    Where there is none, Azure's library under pyarrow 26 does not raise but ends the process: a worker, and with it
    the run. Any other end, such as an account that does not exist, comes as an error.
    """
    code = "import sys; from lookalike.storage import azure; azure.ask_for_identity(*sys.argv[1:])"
    try:
        asked = subprocess.run(  # noqa: S603 - this interpreter, with arguments that no shell reads
            [sys.executable, "-c", code, host, endpoint],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            timeout=IDENTITY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def ask_for_identity(host: str, endpoint: str) -> None:
    """Make one request, for which the library must find an identity; for a process that may be ended by it."""
    try:
        _client(host, endpoint, None).get_file_info("container/object")
    except OSError:
        return  # whatever the store says, it was asked with an identity
