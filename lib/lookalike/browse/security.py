"""Who may ask the site: names it answers to, the token where it is not alone on loopback, and what pages may do."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass

from lookalike.errors import SiteError

# Characters of a token that somebody gives.
SHORTEST_TOKEN = 16

HEADERS = {
    # Plots and bars have style attributes; nothing runs, and nothing comes from elsewhere.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self' 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# The page in a release brings its pictures and styles with it.
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Door:
    """The names that the site answers to, and the token that it asks for; None where everyone may look."""

    names: frozenset[str] | None  # besides addresses; None for those of loopback alone
    token: str | None

    @classmethod
    def of(cls, host: str, token: str | None) -> Door:
        """Return the door of a site that listens at `host`; raise SiteError for a token that can be guessed."""
        if token is not None and not _is_token(token):
            raise SiteError(
                f"--token: give {SHORTEST_TOKEN} ASCII characters and more, none of them blank, or leave it out: one "
                "is then made"
            )
        if is_loopback(host):
            return cls(None, token)
        own = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        return cls(frozenset(own), token or secrets.token_urlsafe(24))

    def answers_to(self, header: str) -> bool:
        """Tell whether the request is meant for this site: a page of another may have had its name point here."""
        name = _host_name(header)
        if name in _LOOPBACK_NAMES:
            return True
        return self.names is not None and (name in self.names or _is_address(name))

    def opens_for(self, given: str | None) -> bool:
        """Tell whether a token is the right one, in a time that tells nothing of it."""
        if self.token is None:
            return True
        return given is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def _is_token(text: str) -> bool:
    return len(text) >= SHORTEST_TOKEN and text.isascii() and text.isprintable() and " " not in text


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(header: str) -> str:
    """Return the name of a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
