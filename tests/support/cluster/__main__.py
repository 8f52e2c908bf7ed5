"""Say why there can be no cluster on this machine, if there can be none: exit code 1 and a line."""

import sys

from support.cluster.spark_cluster import why_not

if reason := why_not():
    sys.exit(f"make test-cluster cannot run here: {reason}")
