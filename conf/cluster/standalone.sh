#!/usr/bin/env bash
# Run by tests/cluster/test_pack.py. Submits the job to a standalone cluster in client mode, with these exit codes:
#   SPARK_HOME=/opt/spark MASTER=spark://master:7077 driver/cluster/standalone.sh shop.yaml [options of the job]
# driver/ is driver.tar.gz, unpacked, and executor.tar.gz lies next to it, or where EXECUTOR says: a path or a URI.
# More options of spark-submit: SUBMIT="--conf spark.cores.max=40". Another job of driver/jobs: JOB=doctor.
set -euo pipefail
config=${1:?the file of settings}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
driver=$(dirname "$here")
# shellcheck disable=SC2086
exec "${SPARK_HOME:?the folder of Spark 4.2}/bin/spark-submit" \
  --master "${MASTER:?such as spark://master:7077}" --deploy-mode client \
  --properties-file "$here/standalone.conf" \
  --archives "${EXECUTOR:-$(dirname "$driver")/executor.tar.gz}#environment" \
  --conf spark.pyspark.driver.python="$driver/bin/python" \
  ${SUBMIT:-} "$driver/jobs/${JOB:-embed}.py" --config "$config" "${@:2}"
