"""Checkpoints: what a run has embedded, kept by model and image hash until a release holds it.

    <warehouse>/checkpoints/<release_id>/<model_id>-<version>-<limits>/<checkpoint>/   Parquet, columns OUTCOMES

Each task writes a file of its own, which appears when the task ends: a run that is killed loses only its running tasks.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lookalike import config
from lookalike.version import VERSION


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one model under one set of limits; `left` are those of runs that were stopped."""

    folder: Path
    left: tuple[Path, ...]

    @classmethod
    def open(cls, root: Path, model_id: str, images: config.ImageSettings) -> Checkpoints:
        """Open the checkpoints below `root` for everything that decides the outcome of a picture's bytes.

        Lists what runs before this one have left; the caller holds the warehouse's lock. Gives each a new name, so
        that an executor that survives its stopped run for a moment writes elsewhere.
        """
        limits = hashlib.sha256(json.dumps(images.refusal_limits(), sort_keys=True).encode()).hexdigest()[:16]
        folder = root / f"{model_id}-{VERSION}-{limits}"
        left = []
        for checkpoint in sorted(folder.glob("checkpoint-*")):
            left.append(folder / _new_name())
            os.replace(checkpoint, left[-1])
            for unfinished in left[-1].glob(".*"):
                unfinished.unlink()
        return cls(folder, tuple(left))

    def begin(self) -> Path:
        """Make a new checkpoint, a folder that tasks write to, and return it."""
        checkpoint = self.folder / _new_name()
        checkpoint.mkdir(parents=True)
        return checkpoint

    def remove_if_empty(self, checkpoint: Path) -> None:
        """Remove a checkpoint of a pass that embedded nothing, and the folders above it that only it was in."""
        with suppress(OSError):
            for folder in (checkpoint, self.folder, self.folder.parent):
                folder.rmdir()

    def files(self) -> list[Path]:
        """Return the files of all checkpoints, of this run and of those before it."""
        return sorted(self.folder.glob("checkpoint-*/*.parquet"))


def _new_name() -> str:
    return f"checkpoint-{secrets.token_hex(8)}"
