# Everything a newcomer needs: `make demo`, `make test`. The first of them makes .venv, once.
SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Another project's Python path, or a Spark of the user's own, would come before the venv's.
unexport PYTHONPATH PYTHONHOME SPARK_HOME SPARK_CONF_DIR PYSPARK_SUBMIT_ARGS
unexport PYSPARK_DRIVER_PYTHON PYSPARK_DRIVER_PYTHON_OPTS
# Spark's workers run `python3` of the PATH unless told otherwise.
export PYSPARK_PYTHON := $(CURDIR)/.venv/bin/python

BIN := .venv/bin
SUBMIT := $(BIN)/spark-submit

##@ Use
demo: .venv/.ready ## a small drawn catalogue, from pictures to similar items
	@$(BIN)/lookalike demo --folder build/demo

# Columns whose agreement among neighbours is shown; LABELS= for a catalogue without any.
LABELS ?= category,colour,gender

PHOTOS = --config conf/photos.yaml \
  --set catalogue.path="$(CATALOGUE)/catalogue.parquet" --set catalogue.image_root="$(CATALOGUE)" \
  --set catalogue.keep_columns="$(LABELS)"

photos: .venv/.ready ## your own pictures: make photos CATALOGUE=<folder with catalogue.parquet> [LABELS=a,b]
	@test -e "$(CATALOGUE)/catalogue.parquet" || { echo "make photos needs CATALOGUE=<folder>," \
	  "a folder with catalogue.parquet and the pictures it names; got '$(CATALOGUE)'" >&2; exit 2; }
	@$(SUBMIT) jobs/embed.py $(PHOTOS)
	@$(SUBMIT) jobs/show.py $(PHOTOS)

pack: ## environments for a cluster, in build/pack: make pack [PYTHON=/usr/bin/python3.12, which its machines have]
	@conf/pack.sh "$(need-python)"

##@ Change
# Those of pages need the system's Chromium: where there is none, a line says so first, and again at the end.
test: .venv/.tests ## all tests; those of pages need Chromium (Debian: chromium)
	@PYTHONPATH=tests $(BIN)/python -m support.browser
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 15

# The simplest story comes first, others each time.
EXAMPLES ?= 20
test-long: .venv/.tests ## hours: many random stories, and kills at any moment: make test-long [EXAMPLES=n]
	@EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m stories --durations 15

# It fails where it cannot run: who asks for it would take a skip for a success.
test-cluster: .venv/.tests ## the job on isolated machines of a Spark cluster, with kills; as root, on Linux: 20 minutes
	@PYTHONPATH=tests $(BIN)/python -m support.cluster
	@$(MAKE) --no-print-directory pack
	@$(BIN)/python -m pytest -m cluster --durations 15 tests/cluster

check: .venv/.tests ## format, lint, types, architecture contract
	@$(BIN)/ruff format --check --quiet || { echo "make format rewrites these files" >&2; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

format: .venv/.tests ## rewrite the code in the project's format
	@$(BIN)/ruff format --quiet
	@$(BIN)/ruff check --quiet --fix

docs: .venv/.tests ## these documents as a site in build/docs; a link that leads nowhere fails
	@$(BIN)/python -c 'from pathlib import Path; from lookalike.config_reference import as_markdown; \
	  Path("docs/settings.md").write_text(as_markdown(), encoding="utf-8")'
	@PYTHONPATH=tests $(BIN)/python -m support.api_page
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file .mkdocs.yml
	@echo "the site: $(CURDIR)/build/docs/index.html"

# CATALOGUE= is read from the environment, where make puts what its command line sets.
BENCH = $(if $(ONLY),--only '$(ONLY)') $(if $(PICTURES),--pictures $(PICTURES)) $(if $(SIZE),--input-size $(SIZE)) \
  $(if $(NIGHTS),--varied $(NIGHTS)) $(if $(BESIDE),--beside '$(BESIDE)')

bench: .venv/.bench ## the benchmarks: make bench [ONLY=nights] [NIGHTS=20000] [PICTURES=n] [SIZE=px] [BESIDE=folder]
	@$(BIN)/python tests/bench/run.py $(BENCH)

bench-similar: .venv/.bench ## the neighbour search beside others: make bench-similar [SIZES=10000,30000,100000]
	@$(BIN)/python tests/bench/run_similar.py $(if $(SIZES),--sizes $(SIZES))

bench-scale: .venv/.tests ## index and neighbours of very many items, and nights: make bench-scale [ITEMS=1000000]
	@PYTHONPATH=tests $(BIN)/python tests/bench/scale.py $(if $(ITEMS),--items $(ITEMS))

bench-memory: .venv/.tests ## what each process of an executor holds: make bench-memory [ITEMS=1000]
	@$(BIN)/python tests/bench/executor_memory.py $(if $(ITEMS),--items $(ITEMS))

check-nights: .venv/.tests ## random nights, all lists by brute force: make check-nights [ITEMS=3000] [RUNS=20] [SEED=n]
	@$(BIN)/python tests/bench/random_nights.py $(if $(ITEMS),--items $(ITEMS)) $(if $(RUNS),--nights $(RUNS)) $(if $(SEED),--seed $(SEED))

CASES ?= 50000
fuzz: .venv/.tests ## decode damaged pictures: make fuzz [CASES=n] [SEED=n]
	@PYTHONPATH=tests $(BIN)/python tests/support/fuzz.py --cases $(CASES) $(if $(SEED),--seed $(SEED))

COMPILE = build/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
  --fork-strategy fewest --generate-hashes --no-emit-index-url --no-annotate \
  --custom-compile-command 'make lock'
LOCK = $(COMPILE) pyproject.toml
FOR-TESTS = --extra dev --extra docs
# ai-edge-litert asks for backports-strenum, of which 1.3 is for Python 3.10 and older: an upper bound that uv ignores.
BOUNDS = --constraint <(echo 'backports-strenum<1.3')
# All that is ever installed together is agreed on at once.
AGREED = --constraint build/uv/agreed.lock
# What requirements.lock says already, in the same words, is left out of a second lock.
BEYOND = <build/uv/second.lock awk 'NR == FNR { said[$$0]; next } /^[^ ]/ { again = /==/ && $$0 in said } !again' requirements.lock -

lock: ## write the locks again: the newest versions that pyproject.toml allows
	@rm -rf build/uv && $(need-python) -m venv build/uv
	@build/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8,<1'
	@$(LOCK) $(BOUNDS) $(FOR-TESTS) --group setup --output-file build/uv/agreed.lock
	@$(LOCK) $(AGREED) --output-file requirements.lock
	@$(COMPILE) $(AGREED) --group pyproject.toml:executor --output-file requirements-executor.lock
	@$(COMPILE) --group pyproject.toml:dbt --output-file requirements-dbt.lock
	@$(LOCK) $(AGREED) $(FOR-TESTS) --output-file build/uv/second.lock && $(BEYOND) >requirements-dev.lock
	@$(LOCK) $(AGREED) --group setup --output-file build/uv/second.lock && $(BEYOND) >requirements-setup.lock
	@$(LOCK) $(AGREED) $(BOUNDS) --extra bench --output-file build/uv/second.lock && $(BEYOND) >requirements-bench.lock
	@rm -rf build/uv

clean: ## remove .venv and what was built or left behind; what `make photos` published stays, in build/photos
	@rm -rf .venv $(filter-out build/photos,$(wildcard build/*)) spark-warehouse metastore_db derby.log \
	  lib/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo photos pack test test-long test-cluster check check-nights format docs bench bench-similar bench-scale bench-memory fuzz lock clean help

# ---- set-up --------------------------------------------------------------------------------------
# A Python that can make the venv: python3 or, where that one cannot, another of these names. Its base
# executable, since an activated .venv is about to be deleted; its headers are for annoy.
ifeq ($(origin PYTHON),undefined)
PYTHON = python3 python3.13 python3.12 python3.11
pack: PYTHON = /usr/bin/python3 python3 python3.13 python3.12 python3.11 # other machines have that of the system, too
endif
find-python = $(shell for name in $(PYTHON); do "$$name" -c 'import ensurepip, os, sys, sysconfig; \
  headers = os.path.join(sysconfig.get_path("include"), "Python.h"); \
  (3, 11) <= sys.version_info < (3, 14) and os.path.exists(headers) or sys.exit(1); \
  print(sys._base_executable)' 2>/dev/null && break; done)
need-python = $(or $(find-python),$(error set-up needs Python 3.11, 3.12 or 3.13 with venv and headers \
  (on Debian: python3-venv, python3-dev); none of these is: $(PYTHON). Install one, or name it: make PYTHON=/path/to/python3.12))

# The packages, installed again when a lock changes. A stamp is written last: what failed or was
# interrupted has none and starts again.
.venv/.packages: requirements.lock requirements-setup.lock
	@conf/venv.sh run "$(need-python)"
	@touch $@

# The package itself and, in place of what it makes of them, the project's spark-submit and Spark
# settings, so that nothing has to be exported or activated.
.venv/.ready: .venv/.packages pyproject.toml
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@ln -sfn ../../conf/spark/spark-submit $(BIN)/spark-submit
	@ln -sfn "$(CURDIR)/conf/spark" "$$($(BIN)/python -c 'import pyspark; print(*pyspark.__path__)')/conf"
	@echo "  an archive of Spark's classes, 180 MB, which every run starts with: 15 s"
	@$(BIN)/python -m lookalike.cli.class_archive || echo "  there is none, and Spark starts more slowly"
	@touch $@

.venv/.tests: .venv/.ready requirements-dev.lock requirements-dbt.lock
	@conf/venv.sh tests
	@touch $@

# 700 MB that nobody else needs
.venv/.bench: .venv/.tests requirements-bench.lock
	@conf/venv.sh bench
	@touch $@
