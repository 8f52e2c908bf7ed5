"""Items without an embedding as pages show them: by reason, with what to do about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.failures import ADVICE
from lookalike.redaction import redacted, redacted_uri


@dataclass(frozen=True)
class FailedItem:
    """An item without an embedding."""

    item_id: str
    image_path: str
    reason: str
    detail: str

    @classmethod
    def of(cls, item_id: str, image_path: str | None, reason: str, detail: str | None) -> FailedItem:
        """Return a row of the failures without the secrets that its path and detail may hold."""
        return cls(item_id, redacted_uri(image_path or ""), reason, redacted(detail or ""))

    @property
    def advice(self) -> str:
        """What to do about it; nothing where this version does not know the reason."""
        return ADVICE.get(self.reason, "")


@dataclass(frozen=True)
class FailureGroup:
    """The failures of one reason, what to do about them, and a few examples."""

    reason: str
    count: int
    examples: Sequence[FailedItem]

    @property
    def advice(self) -> str:
        """What to do about them; nothing where this version does not know the reason."""
        return ADVICE.get(self.reason, "")
