# EduPulse. `make help` explains the targets; each of them sets up what it needs first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# The build back end is pinned like all else, hence no isolated build that would fetch the newest.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PACKAGES := deployments edupulse_ml features jobs
SOURCES := $(PACKAGES) tests
# Tests without Ray and without a clock share the cores; all others have the machine to themselves.
SHARING := tests/architecture tests/contract tests/properties tests/spec tests/unit \
  $(wildcard $(addprefix tests/integration/test_,storage_*.py simulation_*.py connectors_*.py monthly_*.py promotion.py \
  replay_changes.py preflight.py registry_mlflow.py challenge_commands.py bulk_scoring.py training_jobs.py cache_redis.py \
  check_data.py monitor.py feedback_jobs.py history_audit.py known_outcomes.py benchmark_oulad.py))

.DEFAULT_GOAL := help
.PHONY: help setup demo up down status check test soak bench fix notebook clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the pinned dependencies (PYTHON=python3.12 chooses another Python)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || { \
	  echo "EduPulse needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)." \
	       "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is missing: install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Installing the dependencies into $(VENV): a few minutes the first time."
	$(PIP_INSTALL) setuptools
	$(PIP_INSTALL) --no-build-isolation -e ".[dev]"
	@touch $@

demo: $(STAMP) ## Generate a district, train, serve, and list the students most in need of support
	$(BIN)/edupulse demo

up: $(STAMP) ## Start the whole stack and print its URLs
	$(BIN)/edupulse up

down: $(STAMP) ## Stop what was started from this folder; the data stays
	$(BIN)/edupulse down

status: $(STAMP) ## Show which servers run
	$(BIN)/edupulse status

check: $(STAMP) ## Format, lint, types, import contracts, module sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python tests/architecture/module_sizes.py $(PACKAGES)
	$(BIN)/basedpyright

test: export OMP_NUM_THREADS ?= 1
test: $(STAMP) ## Run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(SHARING)
	$(BIN)/python -m pytest $(SHARING:%=--ignore=%)

bench: bench-all ## Run every benchmark against its rivals (an hour of a quiet machine); `make bench-NAME` runs one

bench-%: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks $*

soak: export EDUPULSE_SOAK_S ?= 600
soak: export OMP_NUM_THREADS ?= 1
soak: $(STAMP) ## Overload, then ten minutes at 80 % of capacity: no error, flat memory (EDUPULSE_SOAK_S=60 for one)
	$(BIN)/python -m pytest tests/integration/test_fast_mode_under_load.py -k "one_replica or too_much or soak" --timeout 1200 -s

fix: $(STAMP) ## Format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebook: $(STAMP) ## Run the client notebook against the running stack, in place
	$(BIN)/jupyter execute --inplace docs/client.ipynb

clean: ## Remove .venv and caches; the data in .edupulse stays
	@if [ -x $(BIN)/edupulse ]; then $(BIN)/edupulse down; fi
	rm -rf $(VENV) *.egg-info build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
