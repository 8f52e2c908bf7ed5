"""One thing that was checked: what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lookalike.errors import LookalikeError

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """What was found: `fail` where the job cannot work, `warn` where it may be slow or end badly."""

    name: str
    state: State
    found: str
    advice: str = ""

    def line(self) -> str:
        """Return the check as a line for a person."""
        return f"{self.state:<5}{self.name}: {self.found}{f'; {self.advice}' if self.advice else ''}"

    def as_json(self) -> dict[str, Any]:
        """Return the check for a program."""
        return asdict(self)


def worst(checks: Iterable[Check]) -> State:
    """Return the state of all checks together."""
    found = {check.state for check in checks}
    return "fail" if "fail" in found else "warn" if "warn" in found else "ok"


def of_error(name: str, ask: Callable[[], Check]) -> Check:
    """Return the check that `ask` gives, or one that says with which named error it ended."""
    try:
        return ask()
    except LookalikeError as error:
        return Check(name, "fail", str(error))
