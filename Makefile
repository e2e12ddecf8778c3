# Kizashi. `make help` is the manual.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Each of these strikes a town of a dozen processes, and needs the machine for itself.
TOWNS := $(wildcard tests/faults/test_*on_postgres.py tests/faults/test_*on_kafka.py) tests/faults/test_log_moved.py

.PHONY: help install clients run stop demo kafka move test towns faults bench check format lock clean

help: ## Show what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make the virtual environment from the lock (all others do it when needed)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Kizashi needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3 …"; exit 2; }
	@echo "Installing into $(VENV) (once, about 480 MB) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clients: $(INSTALLED) ## Install the SDKs that products use into .clients, for the tests that point them here
	@$(BIN)/python -m tests.integration.ingest.clients.install

run: $(INSTALLED) ## Everything on this machine, with a demo product and an inbox (DEMO=0: empty; LOG=kafka: on Kafka)
	@exec $(BIN)/python -m deploy.local run

stop: $(INSTALLED) ## End what runs from this folder, or what a killed start left behind
	@exec $(BIN)/python -m deploy.local stop

demo: $(INSTALLED) ## The same story, bounded to 90 s; exit status 0 only if it came true (LOG=kafka: on Kafka)
	@exec $(BIN)/python -m deploy.local demo

kafka: $(INSTALLED) ## A real Kafka broker by itself on port 9092, until Ctrl-C (needs Java 17 and Maven)
	@exec $(BIN)/python -m deploy.local kafka

move: $(INSTALLED) ## Take what make run has to another event log: LOG=kafka, LOG=postgres or KIZASHI_LOG_URL=…
	@exec $(BIN)/python -m deploy.local move

test: $(INSTALLED) ## Every test but those of towns; those of Kafka are left out where Java 17 or Maven is missing
	@$(BIN)/pytest -n 2 --dist loadfile $(TOWNS:%=--ignore=%)

towns: $(INSTALLED) ## Two of every service on each engine, struck by every named fault
	@$(BIN)/pytest $(TOWNS)

faults: $(INSTALLED) ## Random faults under load: nothing lost, nobody told twice (SEED=1 COUNT=1 LOG=both)
	@exec $(BIN)/python -m tests.faults --seed $(or $(SEED),1) --count $(or $(COUNT),1) --log $(or $(LOG),both)

bench: $(INSTALLED) ## How fast, at what cost (LOG=kafka, QUICK=1: one short run, ONLY=ingest, PLOT=1 into docs)
	@$(BIN)/python -m bench --log $(or $(LOG),postgres) $(if $(filter 1,$(QUICK)),--quick) $(if $(ONLY),--only $(ONLY)) \
		$(if $(filter 1,$(PLOT)),--plot)

check: $(INSTALLED) ## Formatting, lint, types, module boundaries
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

format: $(INSTALLED) ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

COMPILE := .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header pyproject.toml

lock: ## Write both locks anew from pyproject.toml: requirements.lock, and its part for the image
	@$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	@$(COMPILE) --all-extras --upgrade -o requirements.lock
	@$(COMPILE) --extra image --constraint requirements.lock --upgrade -o requirements-production.lock
	@rm -rf .venv-lock

clean: ## Remove what was installed and the local data
	@rm -rf $(VENV) .clients .kizashi *.egg-info
