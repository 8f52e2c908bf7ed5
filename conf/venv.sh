#!/usr/bin/env bash
# Installs from the locks, for the Makefile: `venv.sh run PYTHON` makes .venv with what the job needs,
# `venv.sh tests` and `venv.sh bench` add what the tests and the benchmarks need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$PWD/.venv
python=$venv/bin/python

tools=$venv
sources=$venv/sources
source conf/install.sh

main() {
  show_life
  case $1 in
    run) make_venv "$2" ;;
    tests) add_tests ;;
    bench) add_bench ;;
  esac
  # Dependencies are not looked up, so a lock that lacks one would go unnoticed until it is imported.
  "$venv/bin/uv" pip check --quiet --python "$python"
  echo "  done after $SECONDS s"
}

make_venv() {
  # A finished one is brought up to the locks. One that was interrupted is made again from the start.
  if [ -e .venv/.packages ] && "$python" --version >/dev/null; then
    echo "bringing .venv up to the locks"
  else
    echo "setting up .venv, once: 3.2 GB, of which 1.1 GB are downloaded; 1 to 2 minutes on a fast line"
    rm -rf "$venv"
    "$1" -m venv "$venv"
  fi
  rm -rf .venv/.packages "$sources"
  echo "  1/4 uv, which installs the rest: 5 s"
  install_uv
  echo "  2/4 annoy, compiled for any CPU: 15 s"
  build_annoy
  echo "  3/4 Spark: 30 s"
  # Its jars are packed files: to pack them once more takes 12 s of 15.
  install_apart requirements.lock pyspark --config-settings=--build-option=--compression=stored
  rm -rf "$sources"
  echo "  4/4 TensorFlow, Arrow, Java and the rest: 30 s"
  uv sync requirements.lock <(lines_of requirements-setup.lock uv)
}

add_tests() {
  echo "adding what the tests need, once: 0.9 GB, of which 0.4 GB are downloaded; 30 s on a fast line"
  add requirements-dev.lock
  rm -rf "$venv/dbt"
  "$python" -m venv --without-pip "$venv/dbt"
  python=$venv/dbt/bin/python uv install --no-deps --requirement requirements-dbt.lock
}

add_bench() {
  echo "adding what the benchmarks compare with, once: 0.7 GB; 1 minute"
  command -v "${CXX:-c++}" >/dev/null ||
    fail "the benchmarks need a C++ compiler for hnswlib (on Debian: g++)"
  uv install --no-deps --requirement <(lines_of requirements-bench.lock pybind11)
  install_apart requirements-bench.lock hnswlib
  rm -rf "$sources"
  add requirements-bench.lock
}

# Where this was interrupted, a package may be there in part, and uv takes it for whole.
add() {
  local interrupted=
  [ ! -e .venv/.adding ] || interrupted=yes
  touch .venv/.adding
  uv install --no-deps ${interrupted:+--reinstall} --requirement "$1"
  rm .venv/.adding
}

main "$@"
