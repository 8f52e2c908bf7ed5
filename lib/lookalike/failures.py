"""Why a picture has no embedding: the closed list of reasons, and the error that carries one. No Spark."""

from __future__ import annotations

from lookalike.redaction import redacted

# reason -> whether it is permanent: the same bytes, under the same settings, would fail again
REASONS: dict[str, bool] = {
    "not_found": False,
    "forbidden": False,
    "timeout": False,
    "server_error": False,
    "bad_uri": True,
    "empty": True,
    "too_large": True,
    "too_many_pixels": True,
    "not_an_image": True,
    "unsupported_format": True,
    "truncated": True,
    "corrupt": True,
    "decoder_crashed": True,
    # Each costs images.decode_timeout seconds: they are not paid every night.
    "decode_timeout": True,
}

# What may pass within the run. The other transient ones are a person's to mend: they are tried on the next night.
RETRIED = frozenset({"timeout", "server_error"})


class ImageError(Exception):
    """A picture that cannot be embedded: `reason` is a key of REASONS, `detail` one line for a person.

    `wait` is how many seconds its server asked for before the next try.
    """

    def __init__(self, reason: str, detail: str, wait: float = 0) -> None:
        detail = " ".join(redacted(detail).split())
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.wait = wait

    @property
    def permanent(self) -> bool:
        """Whether the same bytes would fail again."""
        return REASONS[self.reason]
