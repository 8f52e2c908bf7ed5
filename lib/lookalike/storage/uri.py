"""Parse the path or URI of a picture, and check which root it lies below.

Keys of object stores are taken as they are written, as the stores' own tools do; file: and http: URIs are
percent-encoded.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

LOCAL = "file"
WEB = ("http", "https")

# One name for each store: Hadoop's spelling and the store's own mean the same.
SCHEMES = {
    "file": LOCAL,
    "http": "http",
    "https": "https",
    "s3": "s3",
    "s3a": "s3",
    "s3n": "s3",
    "gs": "gs",
    "abfs": "abfs",
    "abfss": "abfs",
    "hdfs": "hdfs",
}

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Location:
    """Where an object is: `authority` is a bucket, a container@account or a lower-case host:port; `path` is decoded.

    `uri` is the text to request it with. A local file is read only if no link leads out of the folder `top`, if it is
    set; its `path` then has no links.
    """

    scheme: str
    authority: str
    path: str
    uri: str
    top: str = ""


def is_uri(text: str) -> bool:
    """Return whether `text` names its store; any other text is a local path, absolute or relative to a root."""
    return bool(_URI.match(text)) or text[:5].lower() == "file:"


def join_root(root: str, path: str) -> str:
    """Put `root` before `path`, unless `path` is absolute or a URI."""
    if not root or is_uri(path) or "://" in path or path.startswith("/"):
        return path
    encoded = root[:5].lower() == "file:" or root.lower().startswith(("http://", "https://"))
    return f"{root.rstrip('/')}/{quote(path) if encoded else path}"


def parse(text: str) -> Location:
    """Return the location that `text` names; raises ValueError with one line that says what is wrong."""
    if not text.strip():
        raise ValueError("the path is empty")
    if text[:5].lower() == "file:":
        return _parse_file(text)
    found = _URI.match(text)
    if not found:
        if "://" in text:
            raise ValueError("neither a path nor a URI")
        return Location(LOCAL, "", text, text)
    scheme = SCHEMES.get(found[1].lower())
    if scheme is None:
        raise ValueError(f"no reader for '{found[1].lower()}:' pictures; the stores are {', '.join(SCHEMES)}")
    return _parse_web(text, scheme) if scheme in WEB else _parse_object(scheme, *found.group(2, 3))


def _parse_file(text: str) -> Location:
    path = text[len("file:") :]
    if path.startswith("//"):
        host, _, path = path[2:].partition("/")
        if host not in ("", "localhost"):
            raise ValueError("file: URI names another host")
        path = f"/{path}"
    # A plain '?' or '#' is part of the name: a file has no query and no fragment.
    return Location(LOCAL, "", unquote(path), text)


def _parse_web(text: str, scheme: str) -> Location:
    if any(ord(character) < 33 or ord(character) == 127 for character in text):
        # A line end among them would add a header to the request.
        raise ValueError("a blank or control character in the URL; percent-encode it")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:  # its text repeats parts of the URL, a password too
        raise ValueError("not a URL: its host or port cannot be read") from None
    if not host or port == 0:
        raise ValueError(f"not a URL: it names {'port 0' if host else 'no host'}")
    if "\\" in text:
        raise ValueError("a backslash in the URL; percent-encode it")
    path = _fully_unquoted(parts.path)
    _refuse_dots(path)
    host = f"[{host}]" if ":" in host else host
    return Location(scheme, f"{host}:{port or _PORTS[scheme]}", path or "/", text)


# A bucket, or a container and the host of its account. Nothing else may stand there: no port and no query, with which
# a row could name the server that is asked.
_AUTHORITIES = {
    "s3": re.compile(r"[A-Za-z0-9._-]+"),
    "gs": re.compile(r"[A-Za-z0-9._-]+"),
    "abfs": re.compile(r"[^@:?#%\\\s]+@[A-Za-z0-9.-]+(:[0-9]{1,5})?"),
    "hdfs": re.compile(r"([A-Za-z0-9._-]+(:[0-9]{1,5})?)?"),
}


def _parse_object(scheme: str, authority: str, path: str) -> Location:
    if "@" in authority and (scheme != "abfs" or ":" in authority.partition("@")[0]):
        raise ValueError(f"the {scheme}: URI holds credentials; they belong in the environment")
    if not _AUTHORITIES[scheme].fullmatch(authority):
        wanted = {"abfs": "container@account.dfs.core.windows.net", "hdfs": "host:port"}.get(scheme, "a bucket")
        raise ValueError(
            f"the {scheme}: URI does not name {wanted}" if authority else f"the {scheme}: URI names no bucket"
        )
    _refuse_dots(path)
    return Location(scheme, authority, path, f"{scheme}://{authority}{path}")


def store_host(location: Location) -> str:
    """Return the host that only this location's URI names: an Azure account's, or an HDFS name node; else ""."""
    if location.scheme == "abfs":
        return account_host(location.authority.partition("@")[2])
    return location.authority.lower() if location.scheme == "hdfs" else ""


def account_host(account: str) -> str:
    """Return the host of an Azure account, which a short name or the host of its other interface names too."""
    host = account.lower().rstrip(".")
    return host.replace(".blob.", ".dfs.", 1) if "." in host else f"{host}.dfs.core.windows.net"


def _fully_unquoted(path: str) -> str:
    """Decode until nothing is left to decode: a server behind a proxy may decode a second time."""
    for _ in range(5):
        decoded = unquote(path)
        if decoded == path:
            return path
        path = decoded
    raise ValueError("percent-encoded more than five times")


def _refuse_dots(path: str) -> None:
    if ".." in re.split(r"[/\\]", path):
        raise ValueError("'..' in a URI; write the path without it")


def is_below(location: Location, root: str) -> bool:
    """Return whether `location` is `root` or lies below it, by its name; of a local path, links are not followed."""
    base = parse(root)
    return (location.scheme, location.authority) == (base.scheme, base.authority) and is_inside(
        location.path, base.path
    )


def is_inside(path: str, top: str) -> bool:
    """Return whether a path is `top` or lies below it."""
    top = top.rstrip("/")
    return path == top or path.startswith(f"{top}/")


def leaves_root(path: str) -> bool:
    """Return whether a relative path leads out of the root that is put before it."""
    return not is_uri(path) and not path.startswith("/") and os.path.normpath(path).split("/")[0] == ".."
