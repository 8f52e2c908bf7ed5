"""The releases of a warehouse, `lookalike releases`: spark-submit jobs/releases.py --config conf/nightly.yaml list"""

from lookalike.cli.main import job

if __name__ == "__main__":
    job("releases")
