# One command for everything. `make help` lists the targets.
# Tools that the checks need are built or installed by the project itself and cached outside the checkout.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CACHE ?= $(if $(VIDBENCH_CACHE),$(VIDBENCH_CACHE),$(HOME)/.cache/vidbench)
UV_VERSION := 0.13.9
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
VENV := .venv/bin
MINUTES ?= 20
PYTEST := $(VENV)/pytest
CLUSTER := PYTHONPATH=hack $(VENV)/python -m localcluster

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

## -- set up

$(UV):
	$(PYTHON) -m venv $(CACHE)/uv-$(UV_VERSION)
	$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

.venv/.synced: pyproject.toml uv.lock $(UV)
	$(UV) sync --quiet --locked --all-extras --all-groups
	@touch $@

.PHONY: setup
setup: .venv/.synced ## Make .venv from the lock file

## -- see it work

.PHONY: demo
demo: setup ## Cluster, images, helm install, quickstart run, and its table
	PYTHONPATH=hack $(VENV)/python -m demo

.PHONY: cluster-up
cluster-up: setup ## Start the local cluster (kind, or a real single node on this machine)
	$(CLUSTER) up

.PHONY: cluster-status
cluster-status: setup ## Say what of the local cluster runs
	$(CLUSTER) status

.PHONY: cluster-down
cluster-down: setup ## Remove the local cluster and all that it left on this machine
	$(CLUSTER) down

.PHONY: images
images: setup ## Build the images and load them into the local cluster
	PYTHONPATH=hack $(VENV)/python -m demo --only-images

## -- check

.PHONY: test
test: verify ## The whole ladder, in one pytest run: unit, property, shell, integration, e2e. CI runs this
	$(PYTEST) tests/unit tests/conformance tests/property tests/simulator tests/shell tests/bench tests/integration tests/faults tests/e2e -m "not bench and not faults and not conformance"

.PHONY: verify
verify: lint typecheck generate-check ## Format, lint, types, layers, generated files

.PHONY: lint
lint: setup ## ruff and import-linter
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/lint-imports

.PHONY: typecheck
typecheck: setup ## mypy, strict
	$(VENV)/mypy
	MYPYPATH=hack:tests:crds:operator:runner $(VENV)/mypy -p localcluster -p demo -p simulator

.PHONY: fmt
fmt: setup ## Format and fix what can be fixed
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .

.PHONY: generate
generate: setup ## Write the CRDs from the models, and copy them into the chart
	$(VENV)/python hack/generate.py

.PHONY: generate-check
generate-check: setup ## Fail if a generated file is stale
	$(VENV)/python hack/generate.py --check

.PHONY: unit
unit: setup ## Pure tests, seconds
	$(PYTEST) tests/unit -m "not pipelines"

.PHONY: property
property: setup ## Hypothesis
	$(PYTEST) tests/property

.PHONY: simulate
simulate: setup ## Simulated cluster, faults and people round the real reconciler: SEEDS=10000, or SEED=1234 for one story
	PYTHONPATH=tests:hack $(VENV)/python -m simulator $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),10000))

.PHONY: pipelines
pipelines: setup ## Real diffusers pipelines with random weights, on the CPU
	$(PYTEST) tests/unit -m pipelines

.PHONY: conformance
conformance: setup ## Every supported pipeline class with random weights, on the CPU: printed and written to build/bench
	OMP_NUM_THREADS=1 $(PYTEST) tests/conformance -s

.PHONY: shell
shell: setup ## Real Kopf on an emulated API
	$(PYTEST) tests/shell

.PHONY: integration
integration: setup ## Real API server: every rule of the CRDs, conflicts, restarts, chart
	$(PYTEST) tests/integration

.PHONY: e2e
e2e: setup ## Real kubelet, containers, chart, pipelines; figures printed and written to build/bench
	$(PYTEST) tests/e2e -s

.PHONY: gpu
gpu: setup ## On a machine with a GPU: two models with random weights against published figures, and CUDA's out of memory
	$(PYTEST) tests/gpu -s

.PHONY: faults
faults: setup ## Crashes, lost events, brown-outs between the operator and a real API server; printed and written to build/bench
	$(PYTEST) tests/faults -s

.PHONY: bench
bench: setup ## 20 runs x 10 cells on kwok nodes: ratios and calls, printed and written to build/bench
	$(PYTEST) tests/bench/test_scale.py -s --override-ini=addopts="--import-mode=importlib -ra"

.PHONY: bench-runner
bench-runner: setup ## What the instrument costs, for each class: a timed call, the supervisor; and a bare loop against the runner
	OMP_NUM_THREADS=1 $(PYTEST) tests/bench/test_bench_runner.py -m bench -s --override-ini=addopts="--import-mode=importlib -ra"

.PHONY: bench-capacity
bench-capacity: setup ## Bursty days replayed on a virtual clock: what following capacity saves, and how full the fleet is
	$(PYTEST) tests/bench/test_capacity_replay.py -m bench -s --override-ini=addopts="--import-mode=importlib -ra"

.PHONY: bench-scale
bench-scale: setup ## 10,000 shards on 1,250 kwok nodes: nothing lost, and what it costs (VIDBENCH_BENCH_RUNS=100)
	$(PYTEST) tests/bench/test_bench_scale.py -s --override-ini=addopts="--import-mode=importlib -ra"

.PHONY: bench-store
bench-store: setup ## 10,000 results into SQLite and PostgreSQL, twice: what changes, equal answers, times of queries
	OMP_NUM_THREADS=1 $(PYTEST) tests/bench/test_bench_store.py -m bench -s --override-ini=addopts="--import-mode=importlib -ra"

.PHONY: simulate-statistics
simulate-statistics: setup ## Experiments of known truth: do intervals cover, tests and gates keep their level (REPEATS=2000)
	PYTHONPATH=tests:hack OMP_NUM_THREADS=1 $(VENV)/python -m bench.simulate_statistics --repeats $(or $(REPEATS),2000)

.PHONY: soak
soak: setup ## Churn for MINUTES=20 on kwok nodes: memory, tasks, sockets and their slopes
	VIDBENCH_SOAK_MINUTES=$(MINUTES) $(PYTEST) tests/bench/test_soak.py -s --override-ini=addopts="--import-mode=importlib -ra"

## -- tidy

.PHONY: clean
clean: ## Remove what was built in the checkout (caches outside it stay)
	rm -rf build dist .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
