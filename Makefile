# Two commands do all the set-up:
#   make example   sets up and fits a specialist on rendered images, without network once the packages are there
#   make test      sets up and runs every check
# More for those who change it: quick, docs, coverage, lock, audit; see CONTRIBUTING.md.
PYTHON ?= python3
BIN := .venv/bin
# Two tests side by side, one thread each: threads that fight for cores take longer than they save.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: setup example test quick docs coverage lock audit

setup: .venv/ready

# Exactly the packages of the lock file, each with its hash; pip resolves nothing.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

example: setup
	test -d example || $(BIN)/ptsam-auto example example
	$(BIN)/ptsam-auto fit example --backbone nano --minutes 2 --force

test: setup docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(PYTEST)

# The usual edit-test loop.
quick: setup
	$(PYTEST) -m 'not slow'

# The pages, into build/docs; a broken link, a missing figure or an unknown option is an error.
docs: setup
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder html docs build/docs

coverage: setup
	$(PYTEST) -m 'not slow' --cov --cov-report term --cov-report html:build/coverage

# Known vulnerabilities of the packages in the lock file, and a bill of materials (CycloneDX); it needs the network.
audit: setup
	mkdir -p build
	$(BIN)/uv tool run pip-audit --requirement requirements.lock --require-hashes --disable-pip \
		--format cyclonedx-json --output build/sbom.json || true
	$(BIN)/uv tool run pip-audit --requirement requirements.lock --require-hashes --disable-pip

# The lock file anew, for every supported Python; versions in it stay unless pyproject.toml says otherwise.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command 'make lock' --quiet --output-file requirements.lock
