"""pandas stays out of a worker until something imports it."""

from __future__ import annotations

import subprocess
import sys

import pytest

MAKE_AN_ARRAY = "import sys, pyarrow; pyarrow.array(['a', None]).to_pylist(); print('pandas' in sys.modules)"


@pytest.mark.parametrize(
    ("before", "loaded"),
    [
        ("", "True"),  # else there would be nothing to keep out
        ("from lookalike.spark import worker; worker.without_pandas();", "False"),
        ("import pandas; from lookalike.spark import worker; worker.without_pandas();", "True"),
    ],
)
def test_pyarrow_does_without_pandas_unless_it_is_imported_before(before: str, loaded: str) -> None:
    found = subprocess.run([sys.executable, "-c", before + MAKE_AN_ARRAY], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == loaded


def test_pandas_can_be_imported_afterwards() -> None:
    script = (
        "from lookalike.spark import worker; worker.without_pandas(); import pandas; print(pandas.Series([1, 2]).sum())"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "3"
