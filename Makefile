# Every target makes its own environment in .venv first.
#   PYTHON     interpreter that creates it         make test PYTHON=python3.12
#   PIP_FLAGS  for pip, e.g. an index of CPU builds of torch
#   ARGS       handed on to the program            make test ARGS="-k config"
PYTHON ?= python3
PIP_FLAGS ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ORACLES := $(VENV)/oracles

.DEFAULT_GOAL := help
.PHONY: help demo study exits sizes reskd test test-slurm test-page oracles lint

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP)  ## generate videos, train, test and write results/report.html
	$(BIN)/python tools/study.py --command 'make demo' $(ARGS)

study: $(STAMP)  ## the demo over three seeds (longer)
	$(BIN)/python tools/study.py --seeds 0 1 2 --out results/study --command 'make study' $(ARGS)

exits: $(STAMP)  ## early exits: FrameExit and the rates of the demo's network, results/exits/exits.html
	$(BIN)/python tools/exit_study.py --command 'make exits' $(ARGS)

sizes: $(STAMP)  ## one network for frame counts and sizes, against one per pair, results/sizes/sizes.html
	$(BIN)/python tools/size_study.py --command 'make sizes' $(ARGS)

reskd: $(STAMP)  ## what a teacher of high resolution gives a student of low, results/reskd/reskd.html
	$(BIN)/python tools/reskd_study.py --seeds 0 1 2 --command 'make reskd' $(ARGS)

test: $(STAMP)  ## the default tests; ARGS="-m slow" or ARGS="-m gpu" runs the others
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal $(ARGS)

test-slurm: $(STAMP)  ## training on a SLURM cluster of two nodes on this machine (as root)
	tests/slurm/install.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slurm tests/slurm $(ARGS)

test-page: $(STAMP)  ## the web page in a browser; installs Chromium if it is missing (as root)
	PIP_FLAGS="$(PIP_FLAGS)" tests/page/install.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m page tests/page $(ARGS)

oracles: $(ORACLES)/.installed  ## the tests of bridges to torchvision, timm and pytorchvideo
	PYTHONPATH=$(ORACLES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto \
		tests/models/test_bridges*.py tests/parity/test_oracles.py $(ARGS)

lint: $(STAMP)  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(STAMP): requirements.txt requirements-dev.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --no-deps -e .
	touch $@

$(ORACLES)/.installed: tests/requirements-oracles.txt $(STAMP)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --no-deps --upgrade --target $(ORACLES) -r $<
	touch $@
