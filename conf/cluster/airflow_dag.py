# Not run by any test. A DAG of Airflow 3 (provider apache-spark): the job every night on YARN, and how it ended.
"""Similar items every night.

In cluster mode nobody gets the exit code of the job: on YARN spark-submit ends with 0 or 1, and on Kubernetes with 0
even when the job has failed. So the second task reads the result of the run.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from airflow.exceptions import AirflowFailException
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import ObjectStoragePath, dag, task

HERE = "/srv/lookalike"  # driver.tar.gz, unpacked as driver/, and shop.yaml
STORE = "hdfs:///apps/lookalike"  # both archives
RESULT = "s3://shop/lookalike/results/{{ ds }}.json"


@dag(schedule="15 2 * * *", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1)
def similar_items() -> None:
    """Publish a release, and look how the run ended."""
    submit = SparkSubmitOperator(
        task_id="submit",
        conn_id="spark_yarn",
        deploy_mode="cluster",
        application=f"{HERE}/driver/jobs/embed.py",
        application_args=["--config", "shop.yaml", "--result", RESULT],
        files=f"{HERE}/shop.yaml",
        archives=f"{STORE}/executor.tar.gz#environment,{STORE}/driver.tar.gz#driver",
        properties_file=f"{HERE}/driver/cluster/yarn.conf",
        conf={"spark.pyspark.driver.python": "./driver/bin/python"},
        retries=1,  # what may pass, such as a lost driver; it goes on where the run before stopped
        retry_delay=timedelta(minutes=10),
    )

    @task(trigger_rule="all_done")
    def check(place: str) -> str:
        """Return the release that is current; fail with the line that the run ended with."""
        result = json.loads(ObjectStoragePath(place).read_text())
        if result["exit_code"] != 0:
            raise AirflowFailException(f"exit code {result['exit_code']}: {result['error']}: {result['message']}")
        return result["release_id"]

    submit >> check(RESULT)


similar_items()
