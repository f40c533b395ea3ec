# Two commands do all the set-up:
#   make example   sets up and fits a specialist on rendered images, without network once the packages are there
#   make test      sets up and runs every check
PYTHON ?= python3
BIN := .venv/bin
# Two tests side by side, one thread each: threads that fight for cores take longer than they save.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: setup example test quick

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

example: setup
	test -d example || $(BIN)/ptsam-auto example example
	$(BIN)/ptsam-auto fit example --backbone nano --force

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

# The usual edit-test loop.
quick: setup
	$(PYTEST) -m 'not slow'
