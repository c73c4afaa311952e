# One word a job; each does its own set-up. PYTHON chooses the interpreter, as in `make test PYTHON=python3.13`.

PYTHON ?= $(shell for name in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Where this is set, each of a thousand processes compiles again all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run production unit test coverage fuzz check bench load drill clean

# With job control the server has the terminal to itself: Ctrl-C drains it, and make ends with its status, not as
# interrupted. Without a terminal the server stands in the shell's place, and gets the signal that ends make.
run: $(VENV)/installed
	@if [ -t 0 ]; then bash -c 'set -m; $(BIN)/scalekit run sample_app/scalekit.toml; exit $$?'; \
	else exec $(BIN)/scalekit run sample_app/scalekit.toml; fi

production: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@if [ -t 0 ]; then bash -c 'set -m; $(BIN)/python -m tests.production; exit $$?'; \
	else exec $(BIN)/python -m tests.production; fi

# The quick tests that need no server: tests/kinds.py finds which those are.
unit: $(VENV)/developing
	@$(BIN)/python -m pytest -q -n3 --dist=worksteal -m unit

# What fails runs once more at the end. BUSY=2 keeps the machine busy with two endless loops meanwhile.
test: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@BUSY=$(BUSY) exec setpriv --pdeathsig=TERM $(BIN)/python -m tests.gate

# Branch coverage of all tests but those that load the machine; what is left out of it has its reason in pyproject.toml.
coverage: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@$(BIN)/python -m pytest -q -n3 --dist=worksteal -m 'not load' --cov $(ARGUMENTS)

# Draws other examples at random each time; a failure prints the seed and the example, which becomes a test.
fuzz: $(VENV)/developing
	@$(BIN)/python -m tests.fuzz $(SECONDS)

check: $(VENV)/developing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/pyright

bench: $(VENV)/developing
	@$(BIN)/python -m tests.bench $(if $(PLUGIN),--plugin $(PLUGIN))

# SCRIPT names another scenario, ON=production another setup, DURATION=short makes it a minute, BASE_URL asks a service
# that runs already.
load: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@$(BIN)/python -m tests.load $(if $(ON),--on $(ON)) $(SCRIPT)

drill: $(VENV)/developing
	@PYTHON=$(BIN)/python tests/install_servers.sh
	@$(BIN)/python -m tests.drill

clean:
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed; name one with PYTHON=/path/to/python' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@$(PIP) install --editable '.[all]'
	@touch $@

$(VENV)/developing: pyproject.toml | $(BIN)/python
	@$(PIP) install --editable '.[test,check]'
	@touch $@ $(VENV)/installed
