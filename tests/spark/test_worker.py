import subprocess
import sys

import pytest

MAKE_AN_ARRAY = "import sys, pyarrow; pyarrow.array(['a', None]).to_pylist(); print('pandas' in sys.modules)"


@pytest.mark.parametrize(
    ("before", "loaded"),
    [
        ("", "True"),  # else there would be nothing to keep out
        ("from lookalike import lean; lean.without_pandas();", "False"),
        ("import pandas; from lookalike import lean; lean.without_pandas();", "True"),
    ],
)
def test_pyarrow_does_without_pandas_unless_somebody_has_imported_it(before: str, loaded: str) -> None:
    found = subprocess.run([sys.executable, "-c", before + MAKE_AN_ARRAY], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == loaded


def test_pandas_can_be_imported_afterwards() -> None:
    script = "from lookalike import lean; lean.without_pandas(); import pandas; print(pandas.Series([1, 2]).sum())"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "3"
