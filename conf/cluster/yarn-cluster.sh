#!/usr/bin/env bash
# Not run by any test. Submits the job to YARN in cluster mode: the driver runs on a machine of the cluster, and this
# ends with 0 or 1, whatever the exit code of the job is. So give the job a --result:
#   SPARK_HOME=/opt/spark HADOOP_CONF_DIR=/etc/hadoop/conf STORE=hdfs:///apps/lookalike \
#     driver/cluster/yarn-cluster.sh shop.yaml --result s3://shop/result.json
# STORE has both archives. The executors fetch that of the driver, too: YARN makes no difference.
set -euo pipefail
config=${1:?the file of settings}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
store=${STORE:?where both archives lie, such as hdfs:///apps/lookalike}
# shellcheck disable=SC2086
exec "${SPARK_HOME:?the folder of Spark 4.2}/bin/spark-submit" --master yarn --deploy-mode cluster \
  --properties-file "$here/yarn.conf" --files "$config" \
  --archives "$store/executor.tar.gz#environment,$store/driver.tar.gz#driver" \
  --conf spark.pyspark.driver.python=./driver/bin/python \
  ${SUBMIT:-} "$(dirname "$here")/jobs/${JOB:-embed}.py" --config "$(basename "$config")" "${@:2}"
