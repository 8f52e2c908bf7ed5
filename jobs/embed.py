"""The nightly job, `lookalike run`: spark-submit jobs/embed.py --config conf/nightly.yaml"""

from lookalike.cli.main import job

if __name__ == "__main__":
    job("run")
