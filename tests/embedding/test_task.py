"""A task of the embed step: which errors last."""

from __future__ import annotations

import pytest

from lookalike.embedding.stream import Outcome
from lookalike.embedding.task import error_of
from lookalike.failures import ImageError


@pytest.mark.parametrize(
    ("found", "reason", "known"),
    [
        ("the hash", "corrupt", "corrupt"),  # of the bytes that were hashed
        ("another", None, "server_error"),
        ("another", "corrupt", "server_error"),
        (None, "empty", "server_error"),  # a file that is being written again
        (None, "forbidden", "forbidden"),
        ("the hash", None, None),
    ],
)
def test_lasting_error_of_other_bytes_than_the_hashed_ones_counts_as_passing(
    found: str | None, reason: str | None, known: str | None
) -> None:
    error = error_of(Outcome(found, error=reason and ImageError(reason, "detail")), "the hash")
    assert (error and error.reason) == known
