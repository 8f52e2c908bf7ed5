# What venv.sh and pack.sh share: installing from the locks, for the Python $python, with the uv of the venv $tools.
# Packages that have no wheel are built in the folder $sources, with a cache of their own, which is removed. The user's
# cache may hold an annoy that was built for this CPU only, and uv would keep 1.4 GB of Spark's sources.

# Prints a sign of life every 15 s until the script ends: a slow line may need minutes for one stage.
show_life() {
  tick &
  trap "kill $! 2>/dev/null || true" EXIT
}

tick() { while sleep 15 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do echo "    … $SECONDS s"; done; }

# Into the venv $tools, with what builds packages.
install_uv() {
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 --no-deps --require-hashes \
    --requirement <(lines_of requirements-setup.lock uv) ||
    fail "set-up needs PyPI, or a mirror of it that pip knows (PIP_INDEX_URL): is this machine online?"
  uv install --no-deps --requirement <(lines_of requirements.lock 'setuptools|wheel')
}

# annoy's own flags say -march=native, and such an index crashes or lies on another CPU of the cluster,
# and -ffast-math, under which clang's build crashes on its infinities. These keep what made them fast:
# 1.0 ms a query at 2048 dimensions, against 0.8 with AVX-512 and 3.7 with neither.
annoy_flags=-O3,-fassociative-math,-fno-signed-zeros,-fno-trapping-math,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14

# build_annoy [OPTION ...]: of uv's install
build_annoy() {
  if command -v "${CXX:-c++}" >/dev/null; then
    export CC=${CC:-cc} CXX=${CXX:-c++}
  else
    fetch_compiler
  fi
  CFLAGS='' CXXFLAGS='' CPPFLAGS='' LDFLAGS='' ANNOY_COMPILER_ARGS=$annoy_flags \
    install_apart requirements.lock annoy --no-binary annoy "$@"
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
    "$tools/bin/uv" pip "$1" --quiet --python "$python" --require-hashes --no-build-isolation "${@:2}"
}

pip_setting() { "$tools/bin/python" -m pip config list | sed -n "s/^.*\.$1='\(.*\)'$/\1/p" | tail -1; }

# The lines of a lock for one package, or for several: 'a|b'
lines_of() { awk -v wanted="^($2)==" '/^[^ ]/ { print_it = $0 ~ wanted } print_it' "$1"; }

# The lines of a lock for all packages but these: 'a|b'
lines_without() { awk -v left_out="^($2)==" '/^[^ ]/ { print_it = $0 !~ left_out } print_it' "$1"; }

fail() {
  echo "$1" >&2
  exit 2
}
