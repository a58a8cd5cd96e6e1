# Every command of the project. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
TXN_HOME ?= $(CURDIR)/.local
export TXN_HOME
PYTHON := .venv/bin/python
FILE ?= data/transactions.csv
PORT ?= 3000
SIZE ?= 1m
# Tests that break servers and loads on purpose run with `make faults`.
FAULTS := txn_assets_tests/faults txn_assets_tests/local/test_interrupted_starts.py txn_assets_tests/local/test_faults.py
MINUTES ?= 30

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: .venv/.installed .venv-servers/.installed ## Create both virtual environments from the lock files

.venv/.installed: requirements-dev.lock pyproject.toml setup.sh
	@./setup.sh .venv requirements-dev.lock editable
	@touch $@

.venv-servers/.installed: requirements-servers.lock setup.sh
	@./setup.sh .venv-servers requirements-servers.lock
	@touch $@

.venv-bench/.installed: requirements-bench.lock pyproject.toml setup.sh
	@./setup.sh .venv-bench requirements-bench.lock editable
	@touch $@

.venv-bench-duckdb/.installed: requirements-bench-duckdb.lock setup.sh
	@./setup.sh .venv-bench-duckdb requirements-bench-duckdb.lock
	@touch $@

# What the image installs: the lock, without the tools that `.venv` has.
.venv-image/.installed: requirements.lock setup.sh
	@./setup.sh .venv-image requirements.lock
	@touch $@

# Pass file names through the environment as typed, so that neither make nor the shell expands them.
run: override export FILE := $(value FILE)
# Only from the command line, because some systems have a NAME in their environment.
run: NAMED := $(if $(filter command,$(origin NAME)),--name "$$NAME")
run: override export NAME := $(value NAME)
run: OF_FEED := $(if $(filter command,$(origin FEED)),--feed "$$FEED")
run: override export FEED := $(value FEED)
.PHONY: run
run: setup ## Load a CSV file into the three local stores: make run FILE=path/to/file.csv [FEED=...] [NAME=...] [REPLACE=1]
	@$(PYTHON) -m txn_assets.cli run $(OF_FEED) $(NAMED) $(if $(filter-out 0,$(REPLACE)),--replace) -- "$$FILE"

.PHONY: dev
dev: setup ## Dagster UI and daemon on http://127.0.0.1:3000, with the local stack
	@$(PYTHON) -m txn_assets.defs.dev $(PORT)

.PHONY: upload
upload: setup ## Upload service on http://127.0.0.1:8000, with the local stack: make upload [PORT=8000]
	@$(PYTHON) -m txn_assets.cli upload $(if $(filter command,$(origin PORT)),$(PORT))

.PHONY: down
down: ## Stop the local stack; its data stays in .local
	@[ ! -x $(PYTHON) ] || $(PYTHON) -m txn_assets.local down

.PHONY: test
test: setup ## Unit, property and integration tests against the embedded servers, with coverage
	@# The tests start hundreds of processes, and none of them may write byte code if PYTHONDONTWRITEBYTECODE is set.
	@$(PYTHON) -m compileall -q txn_assets
	@.venv/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder -p no:schemathesis --cov --cov-report=term-missing:skip-covered \
		$(FAULTS:%=--ignore %) --ignore txn_assets_tests/ui

.PHONY: ui-test
ui-test: setup ## Use Dagster's UI and the upload page in Debian's chromium, and take the pictures of the docs again
	@.venv/bin/pytest -q txn_assets_tests/ui --screenshots docs/images

.PHONY: screenshots
screenshots: ui-test ## The same: docs/images/*.png come out of that test

.PHONY: bench
bench: setup .venv-bench/.installed .venv-bench-duckdb/.installed ## Measure against peers and write docs/performance.md: make bench SIZE=100k|1m|10m|100m [POINTS=growth] [KEEP=1]
	@.venv-bench/bin/python -m benchmarks $(SIZE) $(if $(POINTS),--points $(POINTS)) $(if $(KEEP),--keep)

.PHONY: bench-promises
bench-promises: setup .venv-bench/.installed .venv-bench-duckdb/.installed ## Load a file again, and twice at once, with each tool; write the table of promises
	@.venv-bench/bin/python -m benchmarks.promises

.PHONY: bench-guard
bench-guard: setup .venv-bench/.installed .venv-bench-duckdb/.installed ## Compare the ratios with those of the last release, and fail if one is worse in three rounds
	@.venv-bench/bin/python -m benchmarks.guard

.PHONY: bench-arrival
bench-arrival: setup ## Measure how files arrive: a look at 100,000 objects, and 1,000 files at once
	@$(PYTHON) -m benchmarks.arrival tick
	@$(PYTHON) -m benchmarks.arrival thousand

.PHONY: bench-latency
bench-latency: setup ## Measure the seconds from landing to being readable in each store, idle and with a file a second
	@$(PYTHON) -m benchmarks.arrival latency

.PHONY: bench-writers
bench-writers: setup ## Measure twenty files of a million rows that land at once, with 1, 2 and 4 runs at a time
	@$(PYTHON) -m benchmarks.arrival writers

.PHONY: bench-indexes
bench-indexes: setup ## Measure what the indexes in PostgreSQL cost, at a million rows and at more: make bench-indexes [ROWS=50m]
	@$(PYTHON) -m benchmarks.indexes $(if $(filter command,$(origin ROWS)),--rows $(ROWS))

.PHONY: bench-sales
bench-sales: setup ## Measure how fast the marts are read over HTTP, with a million transactions
	@$(PYTHON) -m benchmarks.sales

.PHONY: bench-marts
bench-marts: setup ## Measure what a refresh of the marts in PostgreSQL writes, with a million transactions
	@$(PYTHON) -m benchmarks.refresh

.PHONY: faults
faults: setup ## Kill, cut, race and retry the loads; count rows lost, rows twice and hung runs (FULL=1: many more)
	@.venv/bin/pytest -q -n 2 --dist loadfile $(FAULTS)
	@$(PYTHON) -m txn_assets_tests.faults $(if $(FULL),--full)

.PHONY: leaks
leaks: setup ## Plant clear ids everywhere and search every byte that the platform writes for them
	@$(PYTHON) -m txn_assets_tests.leaks

.PHONY: soak
soak: setup ## Let files come and go while Dagster is killed ten times, and compare the stores: make soak MINUTES=30 SEED=1
	@$(PYTHON) -m txn_assets_tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: fuzz
fuzz: setup ## Send files that nobody should send through validation and hashing: make fuzz MINUTES=10 SEED=1
	@$(PYTHON) -m txn_assets_tests.fuzz $(if $(filter command,$(origin MINUTES)),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

.PHONY: check
check: setup ## Lint, types, and the definitions as Dagster loads them
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@DAGSTER_HOME= .venv/bin/dg check defs

.PHONY: docs
docs: setup ## Build the site of docs/ in site/, and fail on a broken link
	@$(PYTHON) -m txn_assets_tests.reference
	@.venv/bin/zensical build --clean --strict
	@install -D -m 644 "$$($(PYTHON) -c 'import mermaidx; print(*mermaidx.__path__)')/assets/mermaid.js" site/javascripts/mermaid.js

.PHONY: lock
lock: setup ## Resolve the dependencies again and write the hashed lock files
	@./setup.sh lock

.PHONY: sbom
sbom: setup .venv-image/.installed ## Write the CycloneDX documents of requirements.lock and of the image's Python environment to sbom/
	@$(PYTHON) -m txn_assets_tests.supply_chain.sbom sbom .venv-image

.PHONY: licenses
licenses: setup ## List the licenses of requirements.lock, and fail on one that pyproject.toml does not allow
	@$(PYTHON) -m txn_assets_tests.supply_chain.licenses

.PHONY: audit
audit: setup ## Ask for known vulnerabilities of requirements.lock; fail if there are some, or nobody answers
	@$(PYTHON) -m txn_assets_tests.supply_chain.audit

.PHONY: deploy-check
deploy-check: setup ## Check image, Helm values and run Job without a cluster, and print what was checked
	@DEPLOY_CHECK_SUMMARY=1 $(PYTHON) -m pytest --quiet --no-header -r fE txn_assets_tests/deploy

.PHONY: image
image: ## Build the production image with podman, buildah or docker
	@txn_assets_tests/deploy/image.sh build

.PHONY: image-servers
image-servers: ## Build the image of the local servers on top of it, for a cluster without Google
	@txn_assets_tests/deploy/image.sh servers

.PHONY: image-run
image-run: setup ## Run the sample file in the image: 1 CPU, 2 GiB, read-only, no capabilities
	@txn_assets_tests/deploy/image.sh run

.PHONY: cluster-test
cluster-test: setup ## Install the platform on a cluster without Google, load files, kill pods, upgrade, roll back: make cluster-test CONTEXT=kind-data [TAG=dev-1] [NEXT_TAG=dev-2]
	@$(PYTHON) -m txn_assets_tests.cluster --context "$(CONTEXT)" $(if $(TAG),--tag $(TAG)) $(if $(NEXT_TAG),--next-tag $(NEXT_TAG))
