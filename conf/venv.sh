#!/usr/bin/env bash
# Installs from the locks, for the Makefile: `venv.sh run PYTHON` makes .venv with what the job needs,
# `venv.sh tests` and `venv.sh bench` add what the tests and the benchmarks need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$PWD/.venv
python=$venv/bin/python

# Packages that have no wheel are built here, with a cache of their own, and this folder is removed. The
# user's cache may hold an annoy that was built for this CPU only, and uv would keep 1.4 GB of Spark's sources.
sources=$venv/sources

main() {
  tick &
  trap "kill $! 2>/dev/null || true" EXIT
  case $1 in
    run) make_venv "$2" ;;
    tests) add_tests ;;
    bench) add_bench ;;
  esac
  # Dependencies are not looked up, so a lock that lacks one would go unnoticed until it is imported.
  "$venv/bin/uv" pip check --quiet --python "$python"
  echo "  done after $SECONDS s"
}

# Prints a sign of life every 15 s: a slow line may need minutes for one stage.
tick() { while sleep 15 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do echo "    … $SECONDS s"; done; }

make_venv() {
  # A finished one is brought up to the locks. One that was interrupted is made again from the start.
  if [ -e .venv/.packages ] && "$python" --version >/dev/null; then
    echo "bringing .venv up to the locks"
  else
    echo "setting up .venv, once: 2.8 GB, of which 0.9 GB are downloaded; 1 to 2 minutes on a fast line"
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
  echo "adding what the tests need, once: 0.4 GB, of which 0.2 GB are downloaded; 20 s on a fast line"
  add requirements-dev.lock
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

install_uv() {
  "$python" -m pip install --quiet --disable-pip-version-check --retries 2 --no-deps --require-hashes \
    --requirement <(lines_of requirements-setup.lock uv) ||
    fail "set-up needs PyPI, or a mirror of it that pip knows (PIP_INDEX_URL): is this machine online?"
  uv install --no-deps --requirement <(lines_of requirements.lock 'setuptools|wheel')
}

# annoy's own flags say -march=native, and such an index crashes or lies on another CPU of the cluster,
# and -ffast-math, under which clang's build crashes on its infinities. These keep what made them fast:
# 1.0 ms a query at 2048 dimensions, against 0.8 with AVX-512 and 3.7 with neither.
annoy_flags=-O3,-fassociative-math,-fno-signed-zeros,-fno-trapping-math,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14

build_annoy() {
  if command -v "${CXX:-c++}" >/dev/null; then
    export CC=${CC:-cc} CXX=${CXX:-c++}
  else
    fetch_compiler
  fi
  CFLAGS='' CXXFLAGS='' CPPFLAGS='' LDFLAGS='' ANNOY_COMPILER_ARGS=$annoy_flags \
    install_apart requirements.lock annoy --no-binary annoy
}

# Where the machine has no C++ compiler: zig's, which is on PyPI.
fetch_compiler() {
  local zig=$sources/zig tool
  echo "      no C++ compiler here: downloading one, 90 MB, for annoy only, and 1 to 2 minutes more"
  install_apart requirements-setup.lock ziglang --target "$zig"
  for tool in cc c++; do
    printf '#!/bin/sh\nexec "%s/ziglang/zig" %s -mcpu=baseline "$@"\n' "$zig" "$tool" >"$zig/$tool"
    chmod +x "$zig/$tool"
  done
  export CC=$zig/cc CXX=$zig/c++ ZIG_GLOBAL_CACHE_DIR=$zig/cache ZIG_LOCAL_CACHE_DIR=$zig/cache
}

# install_apart LOCK PACKAGE [OPTION ...]: with a cache of its own
install_apart() {
  UV_CACHE_DIR=$sources/cache uv install --no-deps --requirement <(lines_of "$1" "$2") "${@:3}"
}

# Only what the locks name, checked against their hashes; a build uses the lock's setuptools.
uv() {
  local index cert
  # uv reads none of pip's settings.
  index=${UV_DEFAULT_INDEX:-$(pip_setting index-url)}
  cert=${SSL_CERT_FILE:-$(pip_setting cert)}
  env ${index:+UV_DEFAULT_INDEX="$index"} ${cert:+SSL_CERT_FILE="$cert"} \
    "$venv/bin/uv" pip "$1" --quiet --python "$python" --require-hashes --no-build-isolation "${@:2}"
}

pip_setting() { "$python" -m pip config list | sed -n "s/^.*\.$1='\(.*\)'$/\1/p" | tail -1; }

# The lines of a lock for one package, or for several: 'a|b'
lines_of() { awk -v wanted="^($2)==" '/^[^ ]/ { print_it = $0 ~ wanted } print_it' "$1"; }

fail() {
  echo "$1" >&2
  exit 2
}

main "$@"
