# Everything a fresh machine needs is Python 3.11, pip, make and a C compiler; `make` brings the rest.
PYTHON ?= python3
UV_VERSION := 0.13.9
SHELL := /bin/bash
UV := .venv-uv/bin/uv
ML := .venv/bin
AIRFLOW := .venv-airflow/bin
SUDO := $(shell [ $$(id -u) = 0 ] || echo sudo)
INSTALL = $(UV) pip install --quiet --compile-bytecode
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile
COMPILE = $(UV) pip compile --quiet --python-version 3.11 --no-emit-index-url --no-header --no-annotate

# Trust the machine's certificates, as pip does: a registry may stand behind a company's proxy.
export UV_SYSTEM_CERTS := 1

# A package registry sometimes fails to answer: try three times.
retry = for attempt in 1 2 3; do $(1) && exit 0; sleep 5; done; exit 1

.DEFAULT_GOAL := help
.PHONY: help setup format lint test test-stack test-recipes docs bench faults audit demo env up down status seed night docker-night constraints clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /|/' | column -t -s '|'

setup: .venv/.done .venv-airflow/.done ## Install both environments (docs/decisions/0002-two-environments.md)

.venv-uv/.done:
	$(PYTHON) -m venv .venv-uv
	@$(call retry,.venv-uv/bin/python -m pip install --quiet uv==$(UV_VERSION))
	@touch $@

.venv/.done: .venv-uv/.done pyproject.toml constraints/ml.txt
	$(UV) venv --quiet --clear --python $(PYTHON) .venv
	@$(call retry,$(INSTALL) --python .venv --constraints constraints/ml.txt --editable . --group dev)
	@touch $@

.venv-airflow/.done: .venv-uv/.done pyproject.toml constraints/airflow.txt
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-airflow
	@$(call retry,$(INSTALL) --python .venv-airflow --constraints constraints/airflow.txt --group airflow)
	@touch $@

.venv-docs/.done: .venv-uv/.done pyproject.toml constraints/docs.txt
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-docs
	@$(call retry,$(INSTALL) --python .venv-docs --constraints constraints/docs.txt --group docs)
	@touch $@

format: .venv/.done ## Format the code
	$(ML)/ruff format .
	$(ML)/ruff check --fix .

lint: .venv/.done ## Check style, types and the direction of imports
	$(ML)/ruff check .
	$(ML)/ruff format --check .
	$(ML)/mypy
	$(ML)/lint-imports

test: setup ## Run all tests, the DAG's in the Airflow environment
	$(ML)/python -m pytest -q $(PARALLEL)
	$(AIRFLOW)/python -m pytest -q $(PARALLEL) tests/dags

docs: .venv/.done .venv-docs/.done ## Build the documentation into site/: generated tables first, then every link and anchor
	$(ML)/python -m bench.reference
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

bench: .venv/.done ## Measure every hot path beside a plain formulation, write docs/benchmarks.md
	$(ML)/python -m bench

test-stack: setup redis browser ## Run nights, a backfill, drills and mistakes on the whole stack
	MICROREC_TEST_STACK=1 $(ML)/python -m pytest -q tests/deploy/test_stack.py tests/deploy/test_stack_drills.py tests/deploy/test_stack_mistakes.py tests/deploy/test_stack_three_nights.py

test-recipes: .venv/.done ## Run the pages of docs/how-to/stores, with LanceDB, Qdrant, hnswlib and Spark, which it installs (Spark needs Java)
	@$(call retry,$(INSTALL) --python .venv --constraints constraints/recipes.txt --group recipes)
	$(ML)/python -m pytest -q tests/test_how_to.py

faults: .venv/.done ## Try the catalogue of faults, write its table to docs/reference/reliability.md
	$(ML)/python -m bench.faults $(FAULTS)

audit: .venv-uv/.done ## Look the pinned versions up among known vulnerabilities (asks the network)
	@for file in constraints/ml.txt constraints/airflow.txt; do \
		$(UV) tool run --python $(PYTHON) pip-audit==2.10.1 --strict --disable-pip --no-deps --requirement $$file || exit 1; \
	done

demo: .venv/.done ## Run the main job on the sample catalogue, in demo/
	$(ML)/microrec sample demo
	$(ML)/microrec run -c demo/microrec.toml --run-id demo

env: .venv/.done ## Write .env: random secrets and ports of the stack; what stands there stays
	$(ML)/python -m deploy.env_file

up: setup redis env ## Start the stack of docker-compose.yml as processes on loopback
	$(ML)/python -m deploy.stack up

down: .venv/.done ## Stop it; its data stays in .stack
	$(ML)/python -m deploy.stack down

status: .venv/.done ## Show what each service of the stack is doing
	$(ML)/python -m deploy.stack status

seed: .venv/.done ## Write the sample catalogue into the stack's store, unless one is there
	$(ML)/python -m deploy.stack seed

night: seed ## Trigger the nightly run and follow it to its end
	$(ML)/python -m deploy.night $(NIGHT)

docker-night: ## The same in the containers of `docker compose up`, seeded first
	docker compose run --rm seed
	$(PYTHON) -m deploy.night $(NIGHT)

.PHONY: redis browser
browser:
	@command -v chromedriver >/dev/null || $(SUDO) apt-get install -y --no-install-recommends chromium chromium-driver

redis:
	@command -v redis-server >/dev/null || $(SUDO) apt-get install -y --no-install-recommends redis-server

constraints: .venv-uv/.done ## Pin anew whatever fits the versions in pyproject.toml
	$(COMPILE) --upgrade --group dev pyproject.toml -o constraints/ml.txt
	$(COMPILE) --upgrade --constraints constraints/ml.txt --group recipes -o constraints/recipes.txt
	$(COMPILE) --upgrade --group airflow -o constraints/airflow.txt
	$(COMPILE) --upgrade --group docs -o constraints/docs.txt

clean: ## Remove the environments, the demo and the built documentation
	rm -rf .venv .venv-uv .venv-airflow .venv-docs demo site
