# The whole set-up: `make serve` runs the server, `make test` runs every test. Each makes .venv first when it must.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# where nothing compiled is kept, each of the processes that the tests start compiles everything anew
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: serve demo test check bench torture lock format settings clean help

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: $(RUN_STAMP) ## run the server with a private PostgreSQL (HOST, PORT and PROMPTSYNC_* are read)
	@exec $(BIN)/promptsync serve

demo: $(RUN_STAMP) ## watch two devices, a kill and a restart: a story that needs only Python
	@exec $(BIN)/promptsync demo

# The tests that kill are mostly spent waiting: three at a time on two cores, apart from the others, whose load they would feel. They are
# looked for where they are, for every process imports all files that it is given.
# What fails beside other tests is run once more by itself: some of them are about time, and say so twice where they mean it.
PYTEST := $(BIN)/python -m pytest
KILLING = $(shell grep -rl --include='test_*.py' 'mark\.faults' tests | sort)
AGAIN := --last-failed --last-failed-no-failures none

test: $(DEV_STAMP) ## run all tests, on JOBS processes (as many as there are cores, 4 at most); ARGS='tests/crdt -k ranges' some of them, on one
ifeq ($(ARGS),)
	$(PYTEST) -n $(or $(JOBS),auto) --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not faults" || $(PYTEST) $(AGAIN) -m "not faults"
	$(PYTEST) -n $(or $(JOBS),3) --maxprocesses 3 --dist worksteal -m faults $(KILLING) || $(PYTEST) $(AGAIN) -m faults $(KILLING)
else
	$(PYTEST) $(ARGS)
endif

check: $(DEV_STAMP) ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(DEV_STAMP) ## measure; the README's table is this output
	$(BIN)/python -m benchmarks $(ARGS)

torture: $(DEV_STAMP) ## kill, pause, cut and stall real processes under load, ROUNDS times (200 by default), and count what is lost
	$(BIN)/python -m tests.torture --rounds $(or $(ROUNDS),200) $(ARGS)

format: $(DEV_STAMP) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(DEV_STAMP) ## pin every dependency again, with hashes and without an index address
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group dev --generate-hashes --no-emit-index-url --no-header --upgrade -c requirements.lock -o requirements-dev.lock pyproject.toml

$(BIN)/python:
	@sh deploy/make-venv.sh $(PYTHON) $(VENV)

$(RUN_STAMP): requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing what the server needs into $(VENV) ..."
	@$(INSTALL) --require-hashes --only-binary :all: -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	@echo "installing what the tests need into $(VENV) ..."
	@$(INSTALL) --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

settings: $(RUN_STAMP) ## write the README's table of settings
	$(BIN)/python -m server.settings_table --write README.md

clean: ## remove .venv and caches (never .data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
