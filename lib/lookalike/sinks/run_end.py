"""How a run ended, for those who keep figures of runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from lookalike.errors import GateError

Outcome = Literal["published", "nothing_to_do", "refused", "failed", "stopped"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

# 128 and the number of a signal.
_SIGNAL = 128


@dataclass(frozen=True)
class RunEnd:
    """The end of one run."""

    outcome: Outcome
    exit_code: int
    started: datetime
    ended: datetime
    message: str = ""

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return (self.ended - self.started).total_seconds()


def outcome_of(exit_code: int) -> Outcome:
    """Return the outcome of a run that ended with an error or a signal."""
    if exit_code > _SIGNAL:
        return "stopped"
    return "refused" if exit_code == GateError.exit_code else "failed"
