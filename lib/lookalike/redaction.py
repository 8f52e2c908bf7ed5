"""Remove the secrets of URIs from messages: passwords and signed queries."""

from __future__ import annotations

import re


def has_secret(text: str) -> bool:
    """Return whether a URI holds a password, or a query such as signed URLs have."""
    user = _USER.search(text)
    return bool(user and _without_user(user) != user[0]) or bool(_SIGNED_QUERY.search(text))


_SIGNED_QUERY = re.compile(r"\b(?!file:)[A-Za-z][A-Za-z0-9+.-]*://[^\s?]*\?[^\s]*=")


_USER = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)([^/\s@'\"<>]*)@")


_QUERY = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s?'\"<>]*)\?[^\s'\"<>]*")


# The parameters with which clouds sign a URL, for messages that quote only a part of it.
_SIGNED = re.compile(
    r"(?i)\b((?:x-amz-|x-goog-|aws)?(?:signature|credential|security-token|accesskeyid)|sig|token)=[^\s&'\"]+"
)


def redacted(text: str) -> str:
    """Return `text` without the user:password@ and the query of any URI in it: both may be secret."""
    text = _QUERY.sub(r"\1?…", _USER.sub(_without_user, text))
    return _SIGNED.sub(r"\1=…", text)


def _without_user(found: re.Match[str]) -> str:
    """Return the start of a URI without its user; abfs://container@account is an address and stays."""
    plain = found[1].lower() in ("abfs://", "abfss://") and ":" not in found[2]
    return found[0] if plain else f"{found[1]}…@"
