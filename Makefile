PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Most tests wait for processes that they start, so two at a time keep a core busy.
JOBS ?= $(shell $(PYTHON) -c "import os; print(2 * (os.cpu_count() or 1))")

# Where a machine forbids it, each of the hundreds of processes that tests start compiles the broker anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test torture torture-proof stateful plans check format lock bench bench-webhooks bench-nudges train clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

install: $(READY) ## build .venv from requirements.lock

demo: $(READY) ## start everything, send three photographs through it, show the result
	$(BIN)/broker demo

test: $(READY) ## every test, on SQLite and on PostgreSQL; nothing has to run beforehand
	$(BIN)/pytest -n $(JOBS)

SEED ?= 1
SECONDS ?= 180
torture: $(READY) ## kill, stop, cut and fill everything under load, on SQLite, then on PostgreSQL: SEED=1 SECONDS=180
	TORTURE_SEED=$(SEED) TORTURE_SECONDS=$(SECONDS) $(BIN)/pytest -q -s -n 0 -o faulthandler_timeout=0 tests/torture/test_torture.py

EXAMPLES ?= 1000
stateful: $(READY) ## interleave all that can happen to batches at random, on the real store: EXAMPLES=1000
	STATEFUL_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -q -n 0 -o faulthandler_timeout=0 tests/stateful

plans: $(READY) ## look how both databases find what claims, sweeps and lists read, among a million batches
	PLANS_ROWS=1000000 $(BIN)/pytest -q -n 0 -o faulthandler_timeout=0 tests/integration/store/test_plans.py

torture-proof: $(READY) ## show that the torture finds what is broken, and only that
	$(BIN)/pytest -q -n 0 tests/torture/proof.py

check: $(READY) ## lint, types, import contracts, migrations, documented settings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n $(JOBS) tests/check

format: $(READY) ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## resolve pyproject.toml anew into requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --quiet -o requirements.lock

bench: $(READY) ## measure all that the broker aims at: target, measured, ok or short; under ten minutes
	$(BIN)/python -m bench

bench-webhooks: $(READY) ## measure webhooks to endpoints that answer, while half of 200 hang and while none does
	$(BIN)/python -m bench.webhooks

bench-nudges: $(READY) ## measure what batches wait while Redis is emptied, killed or hangs, on both databases
	$(BIN)/python -m bench.nudges

training/.venv/.ready: training/requirements.txt
	test -x training/.venv/bin/python || $(PYTHON) -m venv training/.venv
	training/.venv/bin/python -m pip install --quiet --disable-pip-version-check -r training/requirements.txt
	touch training/.venv/.ready

train: training/.venv/.ready ## train the upscaler's networks anew from drawn pictures, on one core, under an hour, and judge them
	training/.venv/bin/python -m training
	training/.venv/bin/python -m training.evaluate

clean: ## remove everything that the targets above made
	rm -rf .venv training/.venv training/output demo-output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
