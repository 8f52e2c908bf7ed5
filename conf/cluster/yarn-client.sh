#!/usr/bin/env bash
# Not run by any test. Submits the job to YARN in client mode, with the job's own exit codes:
#   SPARK_HOME=/opt/spark HADOOP_CONF_DIR=/etc/hadoop/conf driver/cluster/yarn-client.sh shop.yaml [options of the job]
# driver/ is driver.tar.gz, unpacked, and executor.tar.gz lies next to it, or where EXECUTOR says: with
# EXECUTOR=hdfs:///apps/lookalike/executor.tar.gz each machine fetches it once, and not for each run.
# Another job of driver/jobs: JOB=doctor.
# The machines need Java 17 or 21 and the Python of the archive. They need no Spark: that of SPARK_HOME travels.
set -euo pipefail
config=${1:?the file of settings}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
driver=$(dirname "$here")
# shellcheck disable=SC2086
exec "${SPARK_HOME:?the folder of Spark 4.2}/bin/spark-submit" --master yarn --deploy-mode client \
  --properties-file "$here/yarn.conf" \
  --archives "${EXECUTOR:-$(dirname "$driver")/executor.tar.gz}#environment" \
  --conf spark.pyspark.driver.python="$driver/bin/python" \
  ${SUBMIT:-} "$driver/jobs/${JOB:-embed}.py" --config "$config" "${@:2}"
