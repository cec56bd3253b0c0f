# Works from a clean clone with Python 3.11 or newer and make; everything else is set up in .venv.
#
#   make demo    a team of agents over worker processes writes a sourced briefing, with a human gate
#                OUT=path DOCS=folder QUESTION="..." MODEL=provider:name CHAOS=1 YES=1
#   make test    the tests, in a few minutes. JOBS=2 processes at a time
#   make oldest  the parity tests with the oldest releases of LangGraph and LangChain that are supported; `make test` has the newest
#   make check   lint, types, import contracts, and the long tests
#   make compiled  the broker with its core compiled (mypyc), as a wheel in build/wheel, and the broker's tests on it: some minutes, and a C compiler
#   make chaos   kills, pauses and damages real processes: an hour or more. ROWS=1,5 some of the faults, SCALE=0.1 a part of the counts
#   make simulate  the broker's server under faults from seeds, on a clock that skips the waiting. SEEDS=10000 FROM=0 which
#   make bench   figures beside NATS JetStream, Redis, RabbitMQ, Celery, MCP and other checkpointers, in a quarter of an hour. FINISHED=1000000 how many tasks are finished for one of them

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --build-constraint constraints.txt

OUT ?= build/briefing.md

OLDEST := .venv-oldest

COMPILED := build/compiled

.PHONY: setup demo test oldest lint check compiled chaos simulate bench constraints clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; make PYTHON=python3.12 names one"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "$$(grep '^pip==' constraints.txt)"
	$(INSTALL) --editable '.[demo]' --group dev
	@touch $@

$(VENV)/.bench: $(VENV)/.ready
	$(INSTALL) --editable '.[fast]' --group bench
	@touch $@

# Values reach the command through the environment, so that quotes in a question are the user's own.
export OUT DOCS QUESTION MODEL
demo: setup
	@$(BIN)/langgraph-nolag demo --out "$$OUT" $(if $(DOCS),--docs "$$DOCS") $(if $(QUESTION),--question "$$QUESTION") \
	  $(if $(MODEL),--model "$$MODEL") $(if $(CHAOS),--chaos) $(if $(YES),--yes)

# A file stays in one process, so that what its tests share starts once; those that take longest come first, as collected.
test: setup
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder

oldest: $(OLDEST)/.ready
	$(OLDEST)/bin/python -m pytest tests/parity --numprocesses $(or $(JOBS),2) --dist loadfile

$(OLDEST)/.ready: pyproject.toml constraints.txt constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	{ grep -v -E "^($$(sed -n 's/==.*//p' constraints-oldest.txt | paste -sd '|'))==" constraints.txt; cat constraints-oldest.txt; } > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "$$(grep '^pip==' constraints.txt)"
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(OLDEST)/constraints.txt --build-constraint constraints.txt \
	  --editable . --group tests
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/python -m pytest -m slow
	FOLD_EXAMPLES=300 $(BIN)/python -m pytest tests/unit/core/test_fold.py

# The compiled broker goes before the sources, for the processes that a test starts too.
compiled: $(COMPILED)
	PYTHONPATH=$(CURDIR)/$(COMPILED) $(BIN)/python -m pytest -m "not slow and not sources" tests/unit/core tests/unit/engine tests/unit/server tests/contract tests/integration/server \
	  tests/simulation/test_simulation.py --numprocesses $(or $(JOBS),2) --dist loadfile

$(COMPILED): $(VENV)/.ready broker/compile.py $(shell find broker/nolag_broker -name '*.py' -o -name '*.sql')
	rm -rf $@ build/wheel
	HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --build-constraint constraints.txt --wheel-dir build/wheel .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ build/wheel/*.whl
	$(BIN)/python -c 'import sys; sys.path.insert(0, "$@"); from nolag_broker.server.operations import COMPILED; sys.exit(not COMPILED)'

chaos: setup
	@PYTHONPATH=tests $(BIN)/python -m chaos --rows "$(ROWS)" --scale "$(or $(SCALE),1)" $(if $(SEED),--seed $(SEED))

# Hash seeds are fixed, so that a seed that failed fails again whatever it met.
simulate: setup
	@PYTHONHASHSEED=0 $(BIN)/python -m langgraph_nolag.testing.simulation --from $(or $(FROM),0) --seeds $(or $(SEEDS),10000)

# Without a C compiler the compiled broker is left out.
bench: $(VENV)/.bench
	-$(MAKE) $(COMPILED)
	@$(BIN)/python -m benchmarks.run $(if $(FINISHED),--finished $(FINISHED))

# The newest versions that pyproject.toml admits, written down: run it, run the tests, commit.
constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --upgrade pip
	build/constraints/bin/python -m pip install --quiet --editable '.[demo,fast]' --group dev --group bench --upgrade hatchling setuptools
	{ sed '/^[^#]/,$$d' constraints.txt; build/constraints/bin/python -m pip freeze --all --exclude-editable | grep '=='; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) $(OLDEST) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
