# Every target works on a machine with Python 3.11 to 3.13 and make, and sets up .venv by itself.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.setup-done
PEERS := $(VENV)/.peers-done
EXTRAS := adapters,dev,docs,ray,report,serve,tensorboard,torchaudio,web
# Installed without their requirements, which conflict with ours; the parts that are compared do not need them.
BARE_PEERS := laion-clap stable-audio-tools alias-free-torch einops-exts encodec torchvggish frechet-audio-distance fadtk kadtk
# The official NeuCodec needs versions that conflict with all others, so its packages get a folder of their own, which
# only its benchmark uses.
NEUCODEC_PEERS := $(VENV)/neucodec-peers
NEUCODEC_PACKAGES := neucodec==0.0.6 vector-quantize-pytorch==1.17.8 einx==0.3.0 local-attention==1.11.2 \
	hyper-connections==0.4.11 torchtune==0.6.1
# Nothing in tests, demo or bench needs a model hub, and a forgotten download must fail at once.
export HF_HUB_OFFLINE := 1
# The codecs of the demo: shipped names, folders or hub ids; by default all that ship.
TOKENIZER ?=
# Threads that spin while they wait make networks this small several times slower when other programs run as well.
demo test test-all: export OMP_WAIT_POLICY ?= passive
# The core tests run in two processes of one thread each; test-all runs one test at a time with all cores and memory.
TEST_WORKERS ?= 2
test: export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint docs docs-serve format bench clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "make %-11s %s\n", $$1, $$2}'

setup: $(READY)  ## create .venv with the tested versions of everything

demo: $(READY)  ## hear what ships, and every step on the audio in demos/fixtures: demo_out/report.html; TOKENIZER=NAME chooses a codec
	$(BIN)/latentune demo demo_out $(addprefix --tokenizer ,$(TOKENIZER))

test: $(READY)  ## run the core tests
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadscope

test-all: $(PEERS)  ## run every test, also the slow ones and the comparisons with the official packages
	$(BIN)/python -m pytest -q -m "slow or not slow" --timeout=3600

lint: $(READY)  ## run ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)  ## build the documentation into site/, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(READY)  ## serve the documentation while you write it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

format: $(READY)  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(PEERS) $(NEUCODEC_PEERS)/.done  ## measure speed compared with the official packages; writes bench_out/
	$(BIN)/python demos/bench/codicodec_speed.py
	$(BIN)/python demos/bench/taae_speed.py
	PYTHONPATH=$(NEUCODEC_PEERS) $(BIN)/python demos/bench/neucodec_speed.py
	$(BIN)/python demos/bench/frechet_speed.py
	$(BIN)/python demos/bench/dit_speed.py

clean:  ## remove everything that the targets wrote, .venv included
	rm -rf $(VENV) demo_out bench_out site build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no python3.11 or python3 found: install Python 3.11, or run make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "$(PYTHON) is not Python 3.11 to 3.13: run make PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# touch comes last, so that an interrupted installation is repeated.
$(READY): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

$(PEERS): $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS),notebooks,peers,speech-metrics,web-tests]'
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt $(BARE_PEERS)
	@touch $@

$(NEUCODEC_PEERS)/.done: $(READY)
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target $(@D) $(NEUCODEC_PACKAGES)
	@touch $@
