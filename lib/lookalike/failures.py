"""The reasons why a picture has no embedding, a closed list; what to do about each; the error that carries one."""

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

# reason -> what to do about it, for a person; docs/pictures.md says the same
ADVICE: dict[str, str] = {
    "no_path": "give the item a picture: its path is null, empty or blank",
    "not_found": "upload the picture, or correct the path; `detail` shows blanks and control characters of the "
    "path, and the name of a local file that may be meant",
    "forbidden": "let the job's user read it; for `hdfs:`, install a Hadoop client on every worker (without one for "
    "`catalogue.image_root`, the run ends at once)",
    "timeout": "nothing, unless it lasts: then ask the people who run the store, or raise `images.read_timeout`",
    "server_error": "nothing, unless it lasts: then ask the people who run the store",
    "bad_uri": "correct the path; or the place is not allowed (`images.allowed_roots`, "
    "`images.allow_private_addresses`, `stores.azure_accounts`)",
    "empty": "upload the picture again",
    "too_large": "shrink it, or raise `images.max_bytes`",
    "too_many_pixels": "shrink it, or raise `images.max_pixels` or `images.max_decoded_bytes`",
    "not_an_image": "upload a picture: this is a web page, a video or the like, whatever its name says",
    "unsupported_format": "save it as JPEG or PNG: it is another kind of picture, such as SVG, PSD, PDF, JPEG 2000, "
    "JPEG XL, PPM, Targa, an icon or a camera's raw picture, or a rare kind of BMP, TIFF or JPEG",
    "truncated": "upload the picture again; `images.accept_truncated` takes what there is",
    "corrupt": "upload the picture again",
    "decoder_crashed": "save it again with another program",
    "decode_timeout": "save it again with another program; `images.decode_timeout` says how long decoding may take",
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
