#!/usr/bin/env bash
# Not run by any test. The job as a step of Amazon EMR 7 on EC2, whose own Spark is 3.5: Spark 4.2 and the packed
# environments are brought along. S3=s3://shop/lookalike has spark-4.2.0-bin-hadoop3.tgz, driver.tar.gz and
# executor.tar.gz, packed with PYTHON=/usr/bin/python3.11 on Amazon Linux 2023, and shop.yaml:
#   S3=s3://shop/lookalike CLUSTER=j-ABC123 emr.sh
# The step ends as COMPLETED or FAILED; its result.json says which exit code the job had, and why.
set -euo pipefail
: "${S3:?a prefix in S3}" "${CLUSTER:?the id of a cluster}"

# On every machine, as a bootstrap action of the cluster: sudo dnf install -y python3.11
# On the primary machine; nothing is done twice:
prepare="set -e; mkdir -p ~/lookalike/driver ~/lookalike/spark; cd ~/lookalike; aws s3 sync --only-show-errors $S3 .
tar xzf driver.tar.gz -C driver; tar xzf spark-4.2.0-bin-hadoop3.tgz --strip-components 1 -C spark"
run="export SPARK_HOME=\$PWD/spark HADOOP_CONF_DIR=/etc/hadoop/conf
driver/cluster/yarn-client.sh shop.yaml --result $S3/result.json"

steps=$(python3 -c 'import json, sys
args = ["bash", "-c", "\n".join(sys.argv[1:])]
print(json.dumps([{"Name": "similar items", "ActionOnFailure": "CONTINUE", "Type": "CUSTOM_JAR",
                   "Jar": "command-runner.jar", "Args": args}]))' "$prepare" "$run")
aws emr add-steps --cluster-id "$CLUSTER" --steps "$steps"
