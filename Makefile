# Two commands set everything up: `make demo` runs the main job, `make test` checks the project.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The server that galleries are tested against exists for x86-64 Linux only.
SERVER := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),--group milvus-server)
INSTALLED := $(VENV)/.installed

# One process runs all tests of a file: what they share is made once, and only one needs the server
# of galleries. (xdist's groups have no effect with pytest 9.2, which keeps the ids of tests elsewhere.)
# The longest files come first, as tests/conftest.py orders them.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test check lint types floors docs wheel-test coverage format clean

demo: $(INSTALLED)
	$(BIN)/adln demo --out out/demo

test: $(INSTALLED)
	$(MAKE) -j 2 check wheel-test
	$(PYTEST)

check: lint types floors docs

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

floors: $(INSTALLED)
	$(BIN)/lint-imports

docs: $(INSTALLED)
	$(BIN)/zensical build --strict > $(VENV)/docs.log 2>&1 || { cat $(VENV)/docs.log; exit 1; }

# The built wheel, in an environment without the source, does what the README says.
wheel-test: $(INSTALLED)
	$(BIN)/python -m tests.wheel.walk_readme

# The tests, and which lines of src they run: in the terminal, out/coverage and out/coverage.xml.
coverage: $(INSTALLED)
	$(PYTEST) --cov --cov-report term --cov-report html:out/coverage --cov-report xml:out/coverage.xml

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[train,export,camera,fast,parquet,gallery,milvus,cluster,openvino,ncnn,watch,serve]" --group dev $(SERVER)
	touch $@

clean:
	rm -rf $(VENV) out
