# Everything here works on a fresh machine with Python 3.11 or newer and make: each target sets up .venv first.
# PYTHON chooses the interpreter that makes .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo serve test check docs bench conformance campaign clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: .venv/run-installed ## Embed a few texts through gateway and emulator, print how near they are, stop
	@$(BIN)/python examples/demo.py

serve: .venv/run-installed ## Run gateway and emulator until Ctrl-C
	@$(BIN)/embedrock serve --emulator

test: check ## Check, then run all tests
	@$(BIN)/python -m pytest

check: .venv/dev-installed ## Lint, format check, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: .venv/run-installed ## Write the reference pages that are tables in the code
	@$(BIN)/python docs/generate.py

bench: .venv/dev-installed ## CPU per request and added latency, beside nginx and LiteLLM; what gets through a quota; what accounts cost
	@$(BIN)/python -m bench.gateway
	@$(BIN)/python -m bench.throughput
	@$(BIN)/python -m bench.ledger

conformance: .venv/dev-installed ## Compare what is decoded with tiktoken, which runs in LiteLLM's environment
	@$(BIN)/python -c 'from bench.peers import install_litellm; install_litellm()'
	@$(BIN)/python -m pytest tests/conformance

campaign: .venv/dev-installed ## Long runs: many faults, kills
	@$(BIN)/python -m pytest -s tests/campaign

clean: ## Remove .venv and what tools left behind
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Embedrock needs Python 3.11 or newer; set PYTHON=/path/to/it")'
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/run-installed: .venv/made requirements/run.txt pyproject.toml
	@echo "Setting up .venv ..."
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev-installed: .venv/made requirements/dev.txt pyproject.toml
	@echo "Setting up .venv for development ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ .venv/run-installed
