# Two commands matter: `make run` shows the main job on virtual phones, `make test` runs every test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: run test lint bench picture clean

run: $(VENV)/.core
	@$(BIN)/python -m harness.cli.demo

test: $(VENV)/.dev
	@sh tests/prepare.sh
	@$(BIN)/python -m pytest -n 4 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python bench/deploy.py
	$(BIN)/python bench/case_overhead.py
	$(BIN)/python bench/makespan.py
	$(BIN)/python bench/observer.py
	$(BIN)/python bench/runners.py
	$(BIN)/python bench/push_ios.py
	$(BIN)/python bench/iphones.py
	$(BIN)/python bench/store.py
	$(BIN)/python bench/report.py
	$(BIN)/python bench/nightly.py
	$(BIN)/python bench/month.py

picture: $(VENV)/.dev
	$(BIN)/python -m reports.picture docs/images/report.png

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "farm needs Python 3.11 or later, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
