# Two commands set everything up: `make demo` runs the main job, `make test` checks the project.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check lint types floors format clean

demo: $(INSTALLED)
	$(BIN)/adln demo --out out/demo

test: check
	$(BIN)/pytest -n 2

check: lint types floors

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

floors: $(INSTALLED)
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[train,export,camera,fast,parquet,gallery,milvus,cluster,openvino,ncnn,watch,serve]" --group dev
	touch $@

clean:
	rm -rf $(VENV) out
