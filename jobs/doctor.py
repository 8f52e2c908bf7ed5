"""What the job needs, checked: spark-submit jobs/doctor.py --config conf/nightly.yaml"""

from lookalike.cli.main import job

if __name__ == "__main__":
    job("doctor")
