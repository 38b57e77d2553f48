# make demo    trains a small COSNet on procedural videos, evaluates it, leaves out/demo/report.html
# make test    the tests
# make lint    ruff
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean
demo: $(VENV)/installed
	$(BIN)/python train.py --config=configs/synthetic.py --workdir=out/demo
	$(BIN)/python evaluate.py --config=configs/synthetic.py --workdir=out/demo --checkpoint=out/demo

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-dev: requirements-dev.txt | $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) out
