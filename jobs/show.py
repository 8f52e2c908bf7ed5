"""Show the current release, `lookalike show`: spark-submit jobs/show.py --config conf/nightly.yaml"""

from lookalike.cli.main import job

if __name__ == "__main__":
    job("show")
