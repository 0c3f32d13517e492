# The two commands of a new user: `make demo` and `make test`. Everything else is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help env demo test simulation lint format bench claims claim docs browser clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing leaven and what it needs (torch is large: a few minutes)"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

env: $(READY)  ## create or refresh the environment

demo: env  ## the main job on embedded data: 4 labels per class, three seeds, a report
	@rm -rf demo-run
	$(BIN)/leaven run --config demo.yaml --seeds 0,1,2 --jobs 3 --out demo-run

test: env  ## all tests, but for that of `make simulation`
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

simulation: env  ## the test that starts the processes of Flower's simulation
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m simulation

lint: env  ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env  ## let ruff put the files in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env  ## speed and memory beside the peers; results in benchmarks/results
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

claims: env  ## every claim (hours on 2 cores); results in claims/results, table in CLAIMS.md
	OMP_NUM_THREADS=1 $(BIN)/python -m claims run --all

claim: env  ## one claim: make claim NAME=fixmatch
	OMP_NUM_THREADS=1 $(BIN)/python -m claims run $(NAME)

docs: env  ## the site, in site/
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

browser:  ## headless Chromium for the tests that look at the report (Debian, as root)
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium)

clean:  ## remove the environment and built files
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache
