#!/usr/bin/env bash
# Not run by any test. The job on Google Dataproc (image 3.0, with Java 17), whose own Spark is 4.0: Spark 4.2 and the
# packed environments are brought along. GS=gs://shop/lookalike has spark-4.2.0-bin-hadoop3.tgz, driver.tar.gz and
# executor.tar.gz, packed with the Python of that image, and shop.yaml:
#   GS=gs://shop/lookalike CLUSTER=nightly ZONE=europe-west1-b dataproc.sh
# ssh passes the job's own exit code on. A job of `gcloud dataproc jobs submit` would end as DONE or ERROR.
set -euo pipefail
: "${GS:?a prefix in Cloud Storage}" "${CLUSTER:?the name of a cluster}" "${ZONE:?its zone}"
exec gcloud compute ssh "$CLUSTER-m" --zone "$ZONE" --command "
  set -e; mkdir -p ~/lookalike/driver ~/lookalike/spark; cd ~/lookalike; gcloud storage rsync $GS .
  tar xzf driver.tar.gz -C driver; tar xzf spark-4.2.0-bin-hadoop3.tgz --strip-components 1 -C spark
  export SPARK_HOME=\$PWD/spark HADOOP_CONF_DIR=/etc/hadoop/conf
  driver/cluster/yarn-client.sh shop.yaml --result $GS/result.json"
