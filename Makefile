# What a person types: `make run` and `make test`. Everything else is a part of these two.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Who is allowed to skip what: tests/expected_skips.toml has a table for each of the two.
MODE := $(shell [ "$$(id -u)" = 0 ] && echo root || echo rootless)
PYTEST_ARGS ?=

.PHONY: help setup run dev test lint format types imports pytest test-rootless test-pythons bench lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

setup: $(VENV)/.run-ready  ## make .venv and install the server into it

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Atoll needs Python 3.11 or newer as python3." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/need-venv $(PYTHON)
	@echo "Making $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -m venv $(VENV)

# --require-hashes: what is installed is what was locked. The stamp makes a second run start at once.
$(VENV)/.run-ready: pyproject.toml requirements.lock | $(BIN)/python
	@echo "Installing what the server needs (once)."
	@$(PIP) install -q --require-hashes -r requirements.lock
	@$(PIP) install -q --no-deps -e .
	@touch $@

run: $(VENV)/.run-ready  ## start the server on 127.0.0.1:8000 (ARGS="--port 9000" adds flags)
	@exec $(BIN)/atoll serve $(ARGS)

dev: $(VENV)/.dev-ready  ## make .venv and install what the tests need too

# Other systems' own clients for Node.js; npm ci takes nothing that the lock has no digest of.
NPM_LOCK := $(wildcard tests/dialects/agentkernel/npm/package*.json)
NPM_CLIENTS = mkdir -p $(VENV)/npm-clients && cp $(NPM_LOCK) $(VENV)/npm-clients && \
	npm ci --silent --ignore-scripts --no-audit --no-fund --prefix $(VENV)/npm-clients

$(VENV)/.dev-ready: pyproject.toml requirements-dev.lock $(NPM_LOCK) | $(BIN)/python
	@echo "Installing what the tests need (once)."
	@$(PIP) install -q --require-hashes --use-pep517 -r requirements-dev.lock
	@$(PIP) install -q --no-deps -e .
	@$(NPM_CLIENTS) || echo "No npm, or no registry for it: tests of npm packages are skipped."
	@touch $@ $(VENV)/.run-ready

test: lint types imports pytest  ## lint, types, import contracts and every test

lint: dev  ## ruff: rules and formatting
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check -q src tests scripts

format: dev  ## ruff: mend what can be mended
	$(BIN)/ruff check --fix -q src tests scripts
	$(BIN)/ruff format -q src tests scripts

types: dev  ## mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright

imports: dev  ## the direction of imports
	$(BIN)/lint-imports

pytest: dev  ## the tests alone (PYTEST_ARGS="-k name" chooses)
	$(BIN)/pytest $(if $(CI),--expect-skips=$(MODE)) $(PYTEST_ARGS)

test-rootless:  ## the suites that touch the host, as an ordinary user
	.ci/rootless

test-pythons:  ## the tests that do not touch the host, on other Pythons that are here
	.ci/pythons

bench: $(VENV)/.run-ready  ## measure the promises beside the alternatives on this host
	$(BIN)/atoll bench $(ARGS)

# A tool of its own, not of the environment: needs uv on the PATH.
lock:  ## resolve pyproject.toml again into the two lock files
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-header --no-emit-index-url --extra deno --extra postgres --extra wasm pyproject.toml -o requirements.lock
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-header --no-emit-index-url --extra dev pyproject.toml -o requirements-dev.lock

clean:  ## remove .venv and every cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist site
