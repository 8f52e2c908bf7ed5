"""Silence native libraries, which write dozens of lines to the file descriptors, past Python's sys.stderr."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lookalike import progress


@contextmanager
def native_output() -> Iterator[None]:
    """Discard what the whole process writes to descriptors 1 and 2, and Python's warnings, inside the context.

    What another thread says on the progress of the run is printed afterwards.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    with progress.held_back(), open(os.devnull, "wb") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for descriptor, _ in kept:
                os.dup2(nowhere.fileno(), descriptor)
            yield
        finally:
            for descriptor, copy in kept:
                os.dup2(copy, descriptor)
                os.close(copy)
