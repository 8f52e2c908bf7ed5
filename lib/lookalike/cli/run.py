"""The nightly job: catalogue -> published release of embeddings, index and similar items.

spark-submit jobs/embed.py --config conf/nightly.yaml [--set key=value …]
"""

from __future__ import annotations

import argparse

from pyspark.sql import SparkSession

from lookalike import config, pipeline
from lookalike.cli import session as common


def refresh(spark: SparkSession, settings: config.Settings, _options: argparse.Namespace) -> None:
    """One run."""
    pipeline.refresh(spark, settings)


def main() -> int:
    """Run the job; the exit code."""
    return common.run(refresh, common.arguments(str(__doc__).splitlines()[0]))
