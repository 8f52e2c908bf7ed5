"""What a picture's path means: local or in a store, below which root, and how it is said without its secrets. No Spark.

Keys of object stores are taken as they stand, as their own tools do; file: and http: URIs are percent-encoded.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

LOCAL = "file"
WEB = ("http", "https")

# One name a store: Hadoop's and the store's own spelling are the same place.
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
    """Where a picture is: `authority` is a bucket, a container@account or a lower-case host:port; `path` is decoded.

    `uri` is what to ask the store for.
    """

    scheme: str
    authority: str
    path: str
    uri: str


def is_uri(text: str) -> bool:
    """Whether `text` says which store it is in; anything else is a local path, or relative to a root."""
    return bool(_URI.match(text)) or text[:5].lower() == "file:"


def join_root(root: str, path: str) -> str:
    """`path` below `root`, unless it is absolute or a URI itself."""
    if not root or is_uri(path) or "://" in path or path.startswith("/"):
        return path
    encoded = root[:5].lower() == "file:" or root.lower().startswith(("http://", "https://"))
    return f"{root.rstrip('/')}/{quote(path) if encoded else path}"


def parse(text: str) -> Location:
    """The place that `text` names; raises ValueError with one line that says what is wrong with it."""
    if not text.strip():
        raise ValueError("the path is empty")
    if text[:5].lower() == "file:":
        return _local(text)
    found = _URI.match(text)
    if not found:
        if "://" in text:
            raise ValueError("neither a path nor a URI")
        return Location(LOCAL, "", text, text)
    scheme = SCHEMES.get(found[1].lower())
    if scheme is None:
        raise ValueError(f"no reader for '{found[1].lower()}:' pictures; the stores are {', '.join(SCHEMES)}")
    return _web(text, scheme) if scheme in WEB else _key(scheme, *found.group(2, 3))


def _local(text: str) -> Location:
    path = text[len("file:") :]
    if path.startswith("//"):
        host, _, path = path[2:].partition("/")
        if host not in ("", "localhost"):
            raise ValueError(f"file: URI names another host, '{host}'")
        path = f"/{path}"
    # A raw '?' or '#' is part of the name: a file has neither query nor fragment.
    return Location(LOCAL, "", unquote(path), text)


def _web(text: str, scheme: str) -> Location:
    if any(ord(character) < 33 or ord(character) == 127 for character in text):
        # Also a line end, which would add a header to the request
        raise ValueError("a blank or control character in the URL; percent-encode it")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if not host or "\\" in text:
        raise ValueError("not a URL: it names no host" if not host else "a backslash in the URL; percent-encode it")
    path = _all_unquoted(parts.path)
    _refuse_dots(path)
    host = f"[{host}]" if ":" in host else host
    return Location(scheme, f"{host}:{port or _PORTS[scheme]}", path or "/", text)


def _key(scheme: str, authority: str, path: str) -> Location:
    credentials = "@" in authority and (scheme != "abfs" or ":" in authority.partition("@")[0])
    if credentials or (not authority and scheme != "hdfs"):
        problem = "holds credentials; they belong in the environment" if credentials else "names no bucket"
        raise ValueError(f"the {scheme}: URI {problem}")
    _refuse_dots(path)
    return Location(scheme, authority, path, f"{scheme}://{authority}{path}")


def _all_unquoted(path: str) -> str:
    """Decoded until nothing is left to decode: a server behind another may do it twice."""
    for _ in range(5):
        decoded = unquote(path)
        if decoded == path:
            return path
        path = decoded
    raise ValueError("percent-encoded more than five times over")


def _refuse_dots(path: str) -> None:
    if ".." in re.split(r"[/\\]", path):
        raise ValueError("'..' in a URI; name the picture's own place")


def below(place: Location, root: str) -> bool:
    """Whether `place` is `root` or lies below it; local ones by where their links lead."""
    base = parse(root)
    if (place.scheme, place.authority) != (base.scheme, base.authority):
        return False
    if place.scheme == LOCAL:
        path, top = os.path.realpath(place.path), os.path.realpath(base.path)
    else:
        path, top = place.path, base.path
    top = top.rstrip("/")
    return path == top or path.startswith(f"{top}/")


def climbs(path: str) -> bool:
    """Whether a relative path leads out of the root that it is put below."""
    return not is_uri(path) and not path.startswith("/") and os.path.normpath(path).split("/")[0] == ".."
