"""The reasons why a picture has no embedding, a closed list, and the error that carries one."""

from __future__ import annotations

import re

from lookalike.safe_text import one_line

# reason -> whether it is permanent: the same bytes, under the same settings, would fail again
REASONS: dict[str, bool] = {
    "no_path": True,
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
    # Each costs images.decode_timeout seconds: they are not spent again in every run.
    "decode_timeout": True,
}

# Characters of a detail: of ten million failures, a few hundred MB at most on the disk.
LONGEST_DETAIL = 300

# These may pass within the run. The other transient ones need a person: they are tried again in the next run.
RETRIED = frozenset({"timeout", "server_error"})


# How Python and the stores' libraries print an object of theirs: an address that says nothing, and differs every time.
_OBJECT = re.compile(r"<([\w.]{1,100})[^<>]{0,200} at 0x[0-9a-fA-F]+>")


class ImageError(Exception):
    """A picture that cannot be embedded: `reason` is a key of REASONS, `detail` one line for a person.

    `wait` is how many seconds its server asked for before the next try.
    """

    def __init__(self, reason: str, detail: str, wait: float = 0) -> None:
        detail = one_line(_OBJECT.sub(r"\1", detail), LONGEST_DETAIL)
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.wait = wait

    def without_frames(self) -> ImageError:
        """Return the error to be kept: its frames, which would be kept with it, hold the bytes of its picture."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    @property
    def permanent(self) -> bool:
        """Whether the same bytes would fail again, under the same settings."""
        return REASONS[self.reason]


class OutOfMemoryError(ImageError):
    """A picture that took more memory than there was; a process that has just started may have more."""
