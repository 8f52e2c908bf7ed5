"""Remove secrets from text: passwords, signed queries, fragments, keys, and the bytes of data: URIs.

All is done in time linear in the text: it may be a cell of 1 MB that a stranger wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

CUT = "…"

# What begins an address: `://` in any number of slashes, also percent-encoded in another URI, or `//` without a scheme.
_START = re.compile(r"(?::|%(?:25){0,4}3a)(?:[/\\]|%(?:25){0,4}2f)+|(?<![\w./\\:-])//+", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}$", re.IGNORECASE)

# In a text an address ends before a blank, or a quote that stands at the end of a word; a value is one address.
_IN_TEXT = re.compile(r"(?:[^\s'\"<>`]|['\"<>`](?=[\w%&=]))*")
_WHOLE = re.compile(r".*", re.DOTALL)

_HEAD = re.compile(r"[^/\\?#;]*")
# Behind a `;` there are parameters in the addresses of some databases, else the rest of a user.
_AUTHORITY = re.compile(r"[^/\\?#]*")
_HOST = re.compile(r"(\[[^\]@]*\]|[^:@\[\]]*)(:\d{0,5})?[:,.)\]]*")
# abfs://container@account names a place and no user. A bucket has no port: what follows its colon is a key.
_WITH_CONTAINER = ("abfs", "abfss", "wasb", "wasbs")
_CONTAINER = re.compile(r"[^:@]+@[^:@]+(:\d+)?")
_BUCKETS = ("s3", "s3a", "s3n", "gs")

# A password with a blank in it ends behind the word that seems to end the address.
_LONGEST_PASSWORD = 200

_PARAMETER = re.compile(
    r"(?:(?<![\w.-])|%(?:25){0,4}(?:23|26|3b|3f))(?P<name>[\w.-]{1,64})"
    r"(?:\s?=\s?[\"']?|%(?:25){0,4}3d|[\"']\s?:\s?[\"']?)",
    re.IGNORECASE,
)
_VALUE = re.compile(r"(?:[^\s&;'\"<>]|['\"<>](?=[\w%=]))+")
_SECRET_NAME = re.compile(
    r"(?:^|[._-])(?:sig|sas|pwd|auth)$|passw|passphrase|signature|credential|token|secret|^x-(?:amz|goog)-"
    r"|(?:api|access|account|private|shared)[._-]?key|sess(?:ion)?[._-]?id",
    re.IGNORECASE,
)

_DATA = re.compile(r"\b(data:[\w.+/-]{0,100}(?:;[\w.=+-]{0,100}){0,9},)[^\s'\"<>]+", re.IGNORECASE)
_DATA_VALUE = re.compile(r"(data:[^,]{0,200},).+", re.IGNORECASE | re.DOTALL)
_JDBC_USER = re.compile(r"\b(jdbc:(?:\w{1,30}:){1,3})[^\s@'\"]{1,200}@", re.IGNORECASE)
_USER_WITHOUT_SLASHES = re.compile(r"[^/\\?#@:]*:[^/\\]*@")

_SIGNED_QUERY = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://[^\s?]*\?[^\s=]*=", re.IGNORECASE)


def redacted(text: str, *, queries: bool = True) -> str:
    """Return `text` without the secrets of any URI in it: the user, the query and the fragment, since each may be one.

    With `queries` False, only what is named as a secret is cut from them: for ids and labels that are addresses.
    """
    text = _JDBC_USER.sub(rf"\1{CUT}@", _DATA.sub(rf"\1{CUT}", text))
    return _without_values("".join(_parts(text, _IN_TEXT, queries)))


def redacted_uri(value: str) -> str:
    """Return a path or URI without its secrets: as in a text, but with the blanks and quotes that are part of it."""
    value = _JDBC_USER.sub(rf"\1{CUT}@", value)
    value = _USER_WITHOUT_SLASHES.sub(f"{CUT}@", value, count=1) if _USER_WITHOUT_SLASHES.match(value) else value
    if found := _DATA_VALUE.fullmatch(value):
        return f"{found[1]}{CUT}"
    return _without_values("".join(_parts(value, _WHOLE, queries=True)))


def has_secret(value: str) -> bool:
    """Return whether a URI holds a password, or a query such as signed URLs have."""
    return redacted(value, queries=False) != value or bool(_SIGNED_QUERY.match(value.strip()))


def _without_values(text: str) -> str:
    """Return the text without the values of what is named as a secret."""
    parts, done = [], 0
    for found in _PARAMETER.finditer(text):
        if found.start() < done or not _SECRET_NAME.search(found["name"]):
            continue
        if value := _VALUE.match(text, found.end()):
            parts += [text[done : found.end()], CUT]
            done = value.end()
    return "".join([*parts, text[done:]])


def _parts(text: str, token: re.Pattern[str], queries: bool) -> Iterator[str]:
    """Yield the text in pieces, each address without its secrets."""
    done = stop = 0  # what is yielded, and the end of the word, which may hold several addresses
    for start in _START.finditer(text):
        if start.start() < done:
            continue
        begin = start.end()
        stop = _end(token, text, begin) if stop <= begin else stop
        end = _before_next(text, begin, stop, queries)
        yield text[done : start.start()]
        scheme = _SCHEME.search(text[max(0, start.start() - 32) : start.start()])
        address = _Address(scheme[0].lower() if scheme else "", start[0], text[begin:end])
        kept = address.without_user()
        at = text.find("@", end, end + _LONGEST_PASSWORD) if kept is None else -1
        if at >= 0:
            end = stop = _end(token, text, at + 1)
            kept = f"{CUT}{text[text.rindex('@', at, end) : end]}"
        yield address.start + address.without_query(CUT if kept is None else kept, queries)
        done = end
    yield text[done:]


def _end(token: re.Pattern[str], text: str, begin: int) -> int:
    found = token.match(text, begin)
    return found.end() if found else begin


def _before_next(text: str, begin: int, stop: int, queries: bool) -> int:
    """Return where the address ends: before another one in its path; one in its query is cut with the query."""
    following = _START.search(text, begin, stop)
    if following is None or (queries and re.search(r"[?#]", text[begin : following.start()])):
        return stop
    return following.start()


class _Address:
    """What follows `scheme` and `start`, the slashes: [user@]host[/path][?query][#fragment]."""

    def __init__(self, scheme: str, start: str, rest: str) -> None:
        self.scheme, self.start, self.rest = scheme, start, rest
        if "%" in start:
            self.start, self.rest = "://", _decoded(rest)
        elif "@" not in self._head and "@" in _decoded(self._head):
            self.rest = _decoded(rest)

    @property
    def _head(self) -> str:
        return _HEAD.match(self.rest)[0]  # type: ignore[index] # it matches nothing, too

    @property
    def _is_local(self) -> bool:
        return self.scheme == "file" and self.start != "://"

    def without_user(self) -> str | None:
        """Return the rest without its user; None if the user has no end: the text was cut, or has a blank."""
        if self._is_local or not self._has_user():
            return self.rest
        path, *query = re.split(r"[?#]", self.rest, maxsplit=1)
        if "@" in path and query and "@" in query[0]:
            return CUT  # either may be the end of the password
        _, at, rest = self.rest.rpartition("@")
        if not at:
            return None if self.scheme else self.rest
        return f"{CUT}@{rest}"

    def _has_user(self) -> bool:
        head = self._head
        if self.scheme in _WITH_CONTAINER and _CONTAINER.fullmatch(head):
            return False
        if self.scheme != "sqlserver" and "@" in _AUTHORITY.match(self.rest)[0]:  # type: ignore[index]
            return True
        host = _HOST.fullmatch(head)
        return host is None or (self.scheme in _BUCKETS and len(host[2] or "") > 1)

    def without_query(self, rest: str, queries: bool) -> str:
        """Return the rest without query and fragment; a file has none, `?` and `#` are part of its name."""
        mark = re.search(r"[?#](?=.)", rest, re.DOTALL)
        return f"{rest[: mark.end()]}{CUT}" if mark and queries and not self._is_local else rest


def _decoded(text: str) -> str:
    for _ in range(5):
        text = unquote(text)
    return text
