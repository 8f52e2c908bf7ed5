"""What a PostgreSQL server refused, as one named line."""

from __future__ import annotations

import re

from lookalike.errors import ExportError

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
    "42701": "a kept column has a name that PostgreSQL reserves: give it another",
    "57014": "somebody, or statement_timeout, ended it",
    "08": "look into the server's log",
    "57": "look into the server's log",
    "42": "look at what the line names",
}

_CONNECTING = (
    (r"password|authentication|pg_hba", "give it by PGPASSWORD, PGSERVICE or ~/.pgpass"),
    (r"(role|database) .* does not exist", "name another in the address, or create it"),
    (r"too many clients|connection slots", "try again later"),
    (r"", "start the server, or correct the address (--to, PGHOST, PGPORT)"),
)


def connecting(address: str, text: str) -> ExportError:
    """Return the error of a server that lets nobody in."""
    said = text.strip().splitlines()[-1] if text.strip() else "no reason given"
    advice = next(advice for pattern, advice in _CONNECTING if re.search(pattern, said))
    return ExportError(f"--to {address}: {said}; {advice}")


def refused(text: str, state: str | None) -> ExportError:
    """Return the error of a statement; without a state the connection has ended."""
    said = " ".join(text.split()) or "the connection ended"
    advice = _ADVICE.get(state or "08") or _ADVICE.get((state or "08")[:2], "repair that")
    return ExportError(f"the server refused the export ({said}); {advice}, and export again; the old tables stay")
