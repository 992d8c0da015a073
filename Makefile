# Everything a fresh machine needs: Python 3.11, pip, make, a C compiler.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .venv-uv/bin/uv
ML := .venv/bin
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup format lint test demo constraints clean

# The registry sometimes fails to answer once: try an installation three times.
retry = for attempt in 1 2 3; do $(1) && exit 0; sleep 5; done; exit 1

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/.done ## Install everything the project needs

.venv-uv/.done:
	$(PYTHON) -m venv .venv-uv
	@$(call retry,.venv-uv/bin/python -m pip install --quiet uv==$(UV_VERSION))
	@touch $@

.venv/.done: .venv-uv/.done pyproject.toml constraints/ml.txt
	$(UV) venv --quiet --clear --python $(PYTHON) .venv
	@$(call retry,$(UV) pip install --quiet --compile-bytecode --python .venv/bin/python --constraints constraints/ml.txt --editable . --group dev)
	@touch $@

format: setup ## Format the code
	$(ML)/ruff format .
	$(ML)/ruff check --fix .

lint: setup ## Check style, types and the direction of imports
	$(ML)/ruff check .
	$(ML)/ruff format --check .
	$(ML)/mypy
	$(ML)/lint-imports

test: setup ## Run the tests
	$(ML)/python -m pytest -q

demo: setup ## Run the main job on the sample catalogue
	$(ML)/microrec sample demo
	$(ML)/microrec run -c demo/microrec.toml

constraints: .venv-uv/.done ## Pin the newest versions that fit together
	$(UV) pip compile --quiet --python-version 3.11 --no-emit-index-url --no-header --no-annotate --group dev pyproject.toml -o constraints/ml.txt

clean: ## Remove the environments
	rm -rf .venv .venv-uv
