#!/usr/bin/env bash
# Not run by any test. Submits the job to Kubernetes in cluster mode, waits, and ends with the job's own exit code, which
# spark-submit does not pass on:
#   SPARK_HOME=/opt/spark MASTER=https://kubernetes.example:6443 IMAGES=registry.example/lookalike \
#     conf/cluster/kubernetes.sh shop.yaml [options of the job]
# IMAGES-driver and IMAGES-executor are those of the Dockerfile. No folder is shared: warehouse.path is in a store.
set -euo pipefail
config=${1:?the file of settings}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pod=lookalike-$(date -u +%Y%m%d-%H%M%S)
kubectl create configmap lookalike --from-file=settings.yaml="$config" --dry-run=client --output yaml |
  kubectl apply --filename -
# shellcheck disable=SC2086
"${SPARK_HOME:?the folder of Spark 4.2}/bin/spark-submit" \
  --master "k8s://${MASTER:?the address of the API}" --deploy-mode cluster --name lookalike \
  --properties-file "$here/kubernetes.conf" \
  --conf spark.kubernetes.driver.pod.name="$pod" \
  --conf spark.kubernetes.driver.container.image="${IMAGES:?the images}-driver" \
  --conf spark.kubernetes.executor.container.image="$IMAGES-executor" \
  --conf spark.kubernetes.driver.podTemplateFile="$here/kubernetes-pod.yaml" \
  --conf spark.kubernetes.executor.podTemplateFile="$here/kubernetes-pod.yaml" \
  ${SUBMIT:-} local:///opt/lookalike/driver/jobs/embed.py --config /etc/lookalike/settings.yaml "${@:2}"
code=$(kubectl get pod "$pod" --output \
  jsonpath='{.status.containerStatuses[?(@.name=="spark-kubernetes-driver")].state.terminated.exitCode}')
exit "${code:-1}"
