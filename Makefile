# Set-up, checks and figures. `make` alone prints what there is.

# The interpreter that makes .venv; everything later uses .venv.
PYTHON ?= python3
# How long `make fuzz` runs.
SECONDS ?= 60
# Processes that run tests at the same time.
JOBS ?= 2
# More arguments for pytest, such as TESTS='tests/wire -x'.
TESTS ?=

BIN := .venv/bin
NEED_PYTHON := command -v $(PYTHON) >/dev/null || { \
	echo "setup: $(PYTHON) is not here; as root: apt-get install python3 python3-venv" >&2; \
	exit 1; }

.DEFAULT_GOAL := help
.PHONY: help setup setup-vm dev demo test test-slow lint format bench fuzz examples lock clean

help: ## print this
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
		while IFS='	' read -r name text; do printf '  %-11s %s\n' "$$name" "$$text"; done

setup: ## make .venv with the enarx command (PYTHON=python3.12 to choose the interpreter)
	@$(NEED_PYTHON); PYTHON=$(PYTHON) $(PYTHON) tools/setup.py

dev: ## setup, and what tests and checks need
	@$(NEED_PYTHON); PYTHON=$(PYTHON) $(PYTHON) tools/setup.py --dev

demo: setup ## run a real program in a Keep on real input, with proof
	$(BIN)/enarx run examples/patients/patients.wasm --stdin examples/patients/patients.csv

setup-vm: ## install what Keeps that are virtual machines need, as root (QEMU, swtpm)
	@$(NEED_PYTHON); $(PYTHON) tools/system.py vm

test: dev ## all tests but the slow ones (TESTS='tests/wire -x' for some)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow" $(TESTS)

test-slow: dev ## the slow tests as well
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(TESTS)

lint: dev ## style, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict -p enarx
	$(BIN)/lint-imports

format: dev ## bring the sources into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: dev ## measure, as ratios in one run
	$(BIN)/python -m bench

fuzz: dev ## feed random bytes to every parser (SECONDS=60)
	$(BIN)/python tools/fuzz.py --seconds $(SECONDS)

examples: ## rebuild the examples and compare them byte for byte (UPDATE=1 to replace them)
	@$(NEED_PYTHON); $(PYTHON) tools/system.py examples
	tools/examples.sh $(if $(UPDATE),--update)

lock: ## resolve the pinned dependencies anew (UPGRADE=1 to take newer versions)
	@$(NEED_PYTHON); PYTHON=$(PYTHON) tools/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## remove .venv and everything else that was made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
