"""What a PostgreSQL server refused, as one named line."""

from __future__ import annotations

import re

from lookalike.errors import ConfigError, ExportError
from lookalike.redaction import CUT, redacted_uri

# By the SQLSTATE, or its class of two letters.
_ADVICE = {
    "53100": "free space on the server's disk",
    "53200": "the server has no memory left: lower maintenance_work_mem, or export without --index",
    "42501": "grant this user CREATE in the schema (or in the database, for a new one), and its own tables; "
    "or give another --schema",
    "23505": "two ids differ in their NUL characters alone, which PostgreSQL does not hold: change one",
    "2BP01": "drop what depends on the tables, and make it again after the export",
    "22003": "a value of a kept column is beyond what PostgreSQL holds: leave the column out",
    "22008": "a time of a kept column is beyond what PostgreSQL holds: leave the column out",
    "42701": "a kept column has a name that PostgreSQL reserves, or two have the same first 63 bytes: rename one",
    "57014": "somebody, or statement_timeout, ended it",
    "25006": "it is read-only, as a replica is: give the address of the primary",
    "54": "an id is longer than an index of PostgreSQL takes (2,704 bytes), or there are too many columns: change that",
    "42P07": "give another --schema",
    "08": "look into the server's log",
    "57": "look into the server's log",
    "42": "look at what the line names",
}

_SHARED_MEMORY = "the server has too little shared memory (of a container: --shm-size): lower maintenance_work_mem"

_CONNECTING = (
    (r"pg_hba", "let this user in from here: pg_hba.conf of the server"),
    (r"password|authentication", "give it by PGPASSWORD, PGSERVICE or ~/.pgpass"),
    (r"(role|database) .* does not exist", "name another in the address, or create it"),
    (r"too many clients|connection slots", "try again later"),
    (r"SSL|certificate", "correct sslmode and sslrootcert, or PGSSLMODE"),
    (r"", "start the server, or correct the address (--to, PGHOST, PGPORT)"),
)


def no_address(address: str, text: str) -> ConfigError:
    """Return the error of an address that cannot be parsed."""
    return ConfigError(
        f"--to {_shown(address)}: it is no address of PostgreSQL ({_without_secret(text, address)}); in a user or "
        "password write %40 for @, %2F for / and %25 for %"
    )


def connecting(address: str, text: str) -> ExportError:
    """Return the error of a server that lets nobody in."""
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith("Is the server running")]
    said = _without_secret(next((one for one in reversed(lines) if one), "no reason given"), address)
    advice = next(advice for pattern, advice in _CONNECTING if re.search(pattern, said))
    return ExportError(f"--to {_shown(address)}: {said}; {advice}")


def _shown(address: str) -> str:
    return redacted_uri(address.partition("?")[0])


def _without_secret(text: str, address: str) -> str:
    """Cut what libpq repeats of a password: where one has a `@` or `/`, it takes a part for another word."""
    secret = address.partition("://")[2].rpartition("@")[0].partition(":")[2]
    secret += "".join(re.findall(r"[?&]password=([^&]*)", address))

    def cut(found: re.Match[str]) -> str:
        word = found[0][1:-1]
        hidden = word.rpartition("@")[0] or word
        return f"{found[0][0]}{CUT}{found[0][0]}" if hidden and hidden in secret else found[0]

    return re.sub(r"\"[^\"]*\"|'[^']*'", cut, " ".join(text.split()))


def refused(text: str, state: str | None) -> ExportError:
    """Return the error of a statement; without a state the connection has ended."""
    said = " ".join(text.split()) or "the connection ended"
    advice = _ADVICE.get(state or "08") or _ADVICE.get((state or "08")[:2], "repair that")
    advice = _SHARED_MEMORY if "shared memory" in said else advice
    return ExportError(f"the server refused the export ({said}); {advice}, and export again; the old tables stay")
