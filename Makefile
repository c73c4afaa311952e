# Each target installs its own dependencies. PYTHON chooses the interpreter, as in `make test PYTHON=python3.13`.

PYTHON ?= $(shell for name in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# If this is set, each of the thousand processes of the tests compiles all modules that it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run production unit test coverage fuzz check docs docs-serve bench load drill dist test-lowest clean

# With job control only the server gets the Ctrl-C of the terminal: it drains, and make ends with its exit status, not as
# interrupted. Without a terminal the server replaces the shell, and gets the signal that ends make.
run: $(VENV)/installed
	@echo "Open http://127.0.0.1:$${PORT:-8000}/ in a browser: a tour, with a link to the console."
	@if [ -t 0 ]; then bash -c 'set -m; $(BIN)/scalekit run sample_app/scalekit.toml; exit $$?'; \
	else exec $(BIN)/scalekit run sample_app/scalekit.toml; fi

# ON=one_database runs the sample with PostgreSQL as its only server.
production: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@if [ -t 0 ]; then bash -c 'set -m; $(BIN)/python -m tests.production $(if $(ON),--on $(ON)); exit $$?'; \
	else exec $(BIN)/python -m tests.production $(if $(ON),--on $(ON)); fi

# The quick tests without servers, as tests/kinds.py finds them.
unit: $(VENV)/developing
	@$(BIN)/python -m pytest -q -n3 --dist=worksteal -m unit

# Failed tests run once more at the end. BUSY=2 adds the load of two endless loops.
test: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@BUSY=$(BUSY) exec setpriv --pdeathsig=TERM $(BIN)/python -m tests.gate

# Branch coverage of all tests except those marked load; pyproject.toml has the reason of each exclusion.
coverage: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@$(BIN)/python -m pytest -q -n3 --dist=worksteal -m 'not load' --cov $(ARGUMENTS)

# Draws other examples at random each time; a failure prints the seed and the example, which becomes a test.
fuzz: $(VENV)/developing
	@$(BIN)/python -m tests.fuzz $(SECONDS)

# mypy and pyright use one core each. Documents: links, spelling, code blocks.
check: $(VENV)/developing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/codespell
	@$(BIN)/python -m tests.documentation.checks
	@$(BIN)/mypy & mypy=$$!; $(BIN)/pyright; pyright=$$?; wait $$mypy && exit $$pyright

# The documentation site, in build/docs/html. A warning, such as a link that leads nowhere, ends the build.
docs: $(VENV)/developing
	@$(BIN)/python -m tests.documentation

docs-serve: $(VENV)/developing
	@exec $(BIN)/python -m tests.documentation --serve

bench: $(VENV)/developing
	@$(BIN)/python -m tests.bench $(if $(PLUGIN),--plugin $(PLUGIN))

# SCRIPT names another scenario, ON=production another setup, DURATION=short takes a minute, BASE_URL tests a running
# service.
load: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@$(BIN)/python -m tests.load $(if $(ON),--on $(ON)) $(SCRIPT)

# PART=faults or PART=updates runs one half.
drill: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@$(BIN)/python -m tests.drill $(if $(PART),--part $(PART))

# Builds sdist and wheel in dist/, checks them, and tries each extra in clean environments; EXTRA=cache tries one.
dist: $(VENV)/packaging
	@$(BIN)/python -m tests.dist $(if $(EXTRA),--extra $(EXTRA))

# The quick tests with the lowest versions that pyproject.toml allows.
test-lowest: $(VENV)/packaging
	@$(BIN)/python -m tests.dist.lowest

clean:
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed; name one with PYTHON=/path/to/python' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@$(PIP) install --editable '.[all]'
	@touch $@

$(VENV)/packaging: $(VENV)/developing
	@$(PIP) install --editable '.[dist]'
	@touch $@

$(VENV)/developing: pyproject.toml | $(BIN)/python
	@$(PIP) install --editable '.[test,check]'
	@touch $@ $(VENV)/installed
