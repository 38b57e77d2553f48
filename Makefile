# make demo         trains a small COSNet on procedural videos, evaluates it, leaves out/demo/report.html
# make test         the tests but for the slow ones: some minutes on two cores
# make test-slow    the slow ones: whole programs and whole networks
# make lint         ruff, the direction of the imports, types
# make accelerators  what the compilers of GPUs and TPUs make of the programs, in an environment of its own; some hours
# make soak         damaged inputs, killed trainings and leaks, for an hour; SOAK="--inputs=1000" and so on change it
# make test-matrix  the tests on every Python of PYTHONS, and with the lowest versions that requirements/ admits
PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13
VENV ?= .venv
BIN := $(VENV)/bin
VERSIONS := $(wildcard requirements*.txt requirements/*.txt) pyproject.toml $(if $(LOWEST),$(VENV)/lowest.txt)
# LOWEST=1 installs the lowest versions. There warnings are no errors: old libraries warn about each other.
CONSTRAINT := $(if $(LOWEST),--constraint $(VENV)/lowest.txt)
WARNINGS := $(if $(LOWEST),-W default)
# pip would compile all modules, a minute's work; the first imports compile those that are used.
export PYTHONDONTWRITEBYTECODE =
PIP := $(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check $(CONSTRAINT)

.PHONY: demo test test-slow lint soak accelerators test-matrix clean
demo: $(VENV)/installed
	$(BIN)/cosnet train --config=synthetic --workdir=out/demo
	$(BIN)/cosnet evaluate --config=synthetic --workdir=out/demo --checkpoint=out/demo

test: SELECTED := -m "not slow"
test-slow: SELECTED := -m slow
test test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(WARNINGS) $(SELECTED)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/mypy train.py evaluate.py
	cd bench && MYPYPATH=.. $(abspath $(BIN))/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache *.py

soak: $(VENV)/installed-dev
	$(BIN)/python tests/soak.py $(SOAK)

# JAX for accelerators' compilers needs Python 3.12 or later.
AOT_PYTHON ?= python3.12
accelerators:
	test -x .venv-aot/bin/python || $(AOT_PYTHON) -m venv --upgrade-deps .venv-aot
	.venv-aot/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[train,aot]'
	JAX_PLATFORMS=cpu .venv-aot/bin/python bench/accelerators.py --json=accelerators.json $(ACCELERATORS)

test-matrix:
	set -e; for python in $(PYTHONS); do $(MAKE) test SELECTED= PYTHON=$$python VENV=.venv-$$python; done
	$(MAKE) test SELECTED= PYTHON=$(firstword $(PYTHONS)) VENV=.venv-lowest LOWEST=1

# A new pip installs in half the time of the one that comes with Python 3.11.
$(VENV)/bin/python:
	$(PYTHON) -m venv --upgrade-deps $(VENV)

# Each line `name>=version,...` becomes `name==version`.
$(VENV)/lowest.txt: requirements/base.txt requirements/train.txt requirements/crf.txt | $(VENV)/bin/python
	sed -n 's/^\([A-Za-z0-9_-]*\)>=\([0-9.]*\).*/\1==\2/p' $^ > $@

$(VENV)/installed: $(VERSIONS) | $(VENV)/bin/python
	$(PIP) --editable . --requirement requirements.txt
	touch $@

$(VENV)/installed-dev: $(VERSIONS) | $(VENV)/bin/python
	$(PIP) --editable . --requirement requirements-dev.txt
	touch $(VENV)/installed $@

clean:
	rm -rf .venv .venv-* out
