# One word for each job. Needs make, a shell and Python 3.11 or newer; everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
ARGS ?=
NAME ?= throughput
SEEDS ?= 100
FROM ?= 0
IMAGE ?= verification-processor:local
IMAGE_ARGS ?=
# tests are rewritten and compiled once, not at each run, also where a machine is set up otherwise
export PYTHONDONTWRITEBYTECODE :=

# the newest Python that runs; a pyenv shim that stands for no installed version is skipped
PY ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  "$$p" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
UV_VERSION := 0.13.9
VENV := .venv
RUN := $(VENV)/bin/python
UV := $(VENV)/bin/uv
STAMP := $(VENV)/.stamp
DEPLOY_STAMP := $(VENV)/.deploy-stamp
AUDIT := $(VENV)-audit
AUDIT_STAMP := $(AUDIT)/.stamp
OVERLAYS := local prod prod-keda

.PHONY: help demo test test-fast mutants simulate check lint types fix bench lock docs deploy-check deploy-files image image-check sbom audit clean

help:
	@echo "make demo   show it: a real Kafka, the Didit simulator, three processors, one killed (ARGS=\"--requests 300 --json\")"
	@echo "make test   all tests, on a real Kafka; 20 minutes on two cores (one of them: ARGS=\"-n 0 tests/unit/test_engine.py -k doubt\")"
	@echo "make test-fast     all that needs no Kafka and no browser; about a minute"
	@echo "make mutants       plant faults one by one, and see that a fast test goes red; some minutes (ARGS=\"W1 J6\": these)"
	@echo "make simulate      whole worlds in virtual time, one for each seed (SEEDS=100 FROM=0; again: ARGS=\"--replay 17\"); docs/simulation.md"
	@echo "make check  lint, types, deployment files (each alone: make lint, make types, make deploy-check)"
	@echo "make fix    what the linter and the formatter can repair by themselves"
	@echo "make bench  a benchmark (NAME=throughput|latency|delay|memory|idle|silence|budget|billing|tracing|judging|unpacking|poison|followers|verify|spreadsheet|tenants|soak)"
	@echo "make docs   write the generated pages again"
	@echo "make lock   write the lock files again"
	@echo "make image  build the image with docker, podman or buildah (IMAGE=name:tag, IMAGE_ARGS=\"--build-arg ...\")"
	@echo "make image-check   build it without an engine, start it read-only, stop it (root, buildah, debootstrap)"
	@echo "make deploy-files  write the dashboard and the PrometheusRule again"
	@echo "make sbom   list what the image holds, as CycloneDX JSON (dist/sbom.json)"
	@echo "make audit  ask the vulnerability database about what the image holds"
	@echo "make clean  remove what was installed and cached here"

# set-up speaks on stderr only: stdout belongs to the job
# processor/__init__.py: the version, which the installed metadata repeats
$(STAMP): requirements-dev.lock pyproject.toml processor/__init__.py
	@{ test -n "$(PY)" || { echo "Python 3.11 or newer, with venv, is needed"; exit 1; }; \
	  test -x $(RUN) || "$(PY)" -m venv $(VENV); \
	  test -x $(UV) || $(RUN) -m pip install -q --disable-pip-version-check "uv==$(UV_VERSION)"; \
	  $(UV) pip install -q --python $(RUN) --require-hashes -r requirements-dev.lock; \
	  $(UV) pip install -q --python $(RUN) --no-deps --no-build-isolation -e .; \
	  $(RUN) -m compileall -q -j 0 $(VENV)/lib processor >/dev/null || true; \
	  touch $@; } >&2

demo: $(STAMP)
	@$(RUN) -m processor demo $(ARGS)

# what needs no Kafka and no browser, and a tenth of each story of chance (tests/effort.py)
test-fast: $(STAMP)
	@$(RUN) -m pytest -n auto -m "not broker and not slow" --hypothesis-profile=fast $(ARGS)

# a fault that no fast test sees, or whose text is gone, is a failure (tools/mutants/)
mutants: $(STAMP)
	@$(RUN) -m tools.mutants $(ARGS)

# whole worlds in virtual time (tests/simulation/). Without a pinned hash seed a seed would mean something else in each run
simulate: $(STAMP)
	@PYTHONHASHSEED=0 PYTHONPATH=tests $(RUN) -m simulation --seeds $(SEEDS) --from $(FROM) $(ARGS)

# most of a test's time is waiting: two workers a core. They share a Kafka (tests/shared_kafka.py)
test: $(STAMP)
	@$(RUN) -m pytest -n 4 $(ARGS)

check: lint types deploy-check

lint: $(STAMP)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types: $(STAMP)
	$(VENV)/bin/mypy

fix: $(STAMP)
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

# hadolint's wheel is large: it stays out of the development lock and comes with the first check
$(DEPLOY_STAMP): requirements-deploy.lock $(STAMP)
	@$(UV) pip install -q --python $(RUN) --require-hashes -r requirements-deploy.lock >&2
	@touch $@

# what reads these files checks them; tests/house/ asks for more
deploy-check: $(DEPLOY_STAMP)
	$(VENV)/bin/hadolint Dockerfile
	@for overlay in $(OVERLAYS); do echo "deploy/k8s/overlays/$$overlay"; $(VENV)/bin/kubectl kustomize deploy/k8s/overlays/$$overlay \
	  | $(VENV)/bin/kubernetes-validate --strict --quiet --no-warn /dev/stdin; done
	@$(call with-tool,promtool,promtool check rules deploy/prometheus/rules.yml && promtool test rules deploy/prometheus/rules_test.yml)
	@if docker compose version >/dev/null 2>&1; then docker compose -f deploy/compose.yaml config -q; \
	  else $(call with-tool,docker-compose,docker-compose -f deploy/compose.yaml config -q); fi

# $(call with-tool,name,command): the command, if its tool is there. In CI it must be
with-tool = if command -v $(1) >/dev/null; then $(2); \
  elif [ -n "$${CI:-}" ]; then echo "$(1) is needed in CI" >&2; exit 1; \
  else echo "$(1) is not here: not checked: $(2)" >&2; fi

# files that are made of others, and committed
deploy-files: $(DEPLOY_STAMP)
	$(RUN) deploy/grafana/dashboard.py > deploy/grafana/dashboard.json
	{ sed '/^spec:/q' deploy/k8s/components/monitoring/prometheus-rule.yaml; sed '/^#/d; s/^/  /' deploy/prometheus/rules.yml; } > .rule.yaml
	mv .rule.yaml deploy/k8s/components/monitoring/prometheus-rule.yaml

image:
	@for tool in docker podman buildah; do \
	  if command -v $$tool >/dev/null && $$tool info >/dev/null 2>&1; then $$tool build --build-arg COMMIT="$$(git describe --always --abbrev=12 --exclude='*' --dirty=.dirty 2>/dev/null)" $(IMAGE_ARGS) -t "$(IMAGE)" .; exit; fi; done; \
	  echo "docker, podman or buildah is needed, and must run (\`docker info\`)" >&2; exit 1

image-check: $(STAMP)
	@$(RUN) deploy/image/check.py

$(AUDIT_STAMP): requirements-audit.lock requirements.lock $(STAMP)
	@{ rm -rf $(AUDIT); $(RUN) -m venv --without-pip $(AUDIT)/tools; $(RUN) -m venv --without-pip $(AUDIT)/image; \
	  $(UV) pip install -q --python $(AUDIT)/tools/bin/python --require-hashes -r requirements-audit.lock; \
	  $(UV) pip install -q --python $(AUDIT)/image/bin/python --require-hashes -r requirements.lock; touch $@; } >&2

# from an environment like the image's, so that licences and what needs what are in it. The tool knows no dynamic version: it gets ours
sbom: $(AUDIT_STAMP)
	@mkdir -p dist
	@sed "s/^dynamic = .*/version = \"$$($(RUN) -m hatchling version)\"/" pyproject.toml > dist/pyproject.toml
	@$(AUDIT)/tools/bin/cyclonedx-py environment --pyproject dist/pyproject.toml --mc-type application --output-reproducible --of JSON \
	  -o dist/sbom.json $(AUDIT)/image/bin/python
	@echo "dist/sbom.json"

# strict: a package that the database was not asked about is a failure, and not a pass
audit: $(AUDIT_STAMP)
	@$(AUDIT)/tools/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock || { \
	  echo "make audit: a vulnerability, or a database that does not answer (see above). Nothing can be said about the other packages" >&2; \
	  exit 1; }

bench: $(STAMP)
	@$(RUN) -m bench.$(NAME) $(ARGS)

docs: $(DEPLOY_STAMP)
	@$(RUN) -m tools.docs.configuration > docs/configuration.md
	@$(RUN) -m tools.docs.metrics > docs/metrics.md
	@$(RUN) -m tools.docs.codes
	@$(RUN) -m tools.docs.rights
	@$(RUN) -m tools.docs.schema_page

lock: $(STAMP)
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --extra otel -o requirements.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --group dev -o requirements-dev.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group deploy -o requirements-deploy.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group build -o requirements-build.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group audit -o requirements-audit.lock

clean:
	rm -rf $(VENV) $(AUDIT) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
