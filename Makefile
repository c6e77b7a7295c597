# Everything here works on a machine that has Python 3.11 to 3.13 and make; each target sets up .venv by itself.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.setup-done
PEERS := $(VENV)/.peers-done
EXTRAS := dev,docs,ray,report,tensorboard,torchaudio
# their own requirements do not go with ours, and the parts that are compared do not need them
BARE_PEERS := laion-clap stable-audio-tools alias-free-torch einops-exts encodec torchvggish frechet-audio-distance fadtk kadtk
# the official NeuCodec needs versions that go with nothing else: a folder of their own, which its benchmark alone sees
NEUCODEC_PEERS := $(VENV)/neucodec-peers
NEUCODEC_PACKAGES := neucodec==0.0.6 vector-quantize-pytorch==1.17.8 einx==0.3.0 local-attention==1.11.2 \
	hyper-connections==0.4.11 torchtune==0.6.1
# nothing in tests, demo or bench needs a model hub: a forgotten download shall fail at once
export HF_HUB_OFFLINE := 1
# what the demo encodes and trains on: a shipped name, a folder or a hub id
TOKENIZER ?= codicodec-mini
# threads that wait by spinning make networks this small several times slower where other programs run as well
demo test test-all: export OMP_WAIT_POLICY ?= passive
# core tests run in two processes of one thread each; those at full size, one at a time, in all memory and cores
TEST_WORKERS ?= 2
test: export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint format bench clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "make %-9s %s\n", $$1, $$2}'

setup: $(READY)  ## create .venv with the tested versions of everything

demo: $(READY)  ## the whole road on the audio in demos/fixtures (or with TOKENIZER=NAME); writes demo_out/report.html
	$(BIN)/latentune demo demo_out --tokenizer $(TOKENIZER)

test: $(READY)  ## the core tests, 3 to 5 minutes on 2 cores
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadscope

test-all: $(PEERS)  ## every test: the slow ones, and comparisons with the official packages
	$(BIN)/python -m pytest -q -m "slow or not slow" --timeout=3600

lint: $(READY)  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(PEERS) $(NEUCODEC_PEERS)/.done  ## speed beside the official package; writes bench_out/
	$(BIN)/python demos/bench/codicodec_speed.py
	$(BIN)/python demos/bench/taae_speed.py
	PYTHONPATH=$(NEUCODEC_PEERS) $(BIN)/python demos/bench/neucodec_speed.py
	$(BIN)/python demos/bench/frechet_speed.py

clean:  ## remove what the targets wrote, .venv included
	rm -rf $(VENV) demo_out bench_out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no python3.11 or python3 found: install Python 3.11, or run make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "$(PYTHON) is not Python 3.11 to 3.13: run make PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# touch comes last: an installation that was interrupted is taken up again
$(READY): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

$(PEERS): $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS),peers,robustness,speech-metrics]'
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt $(BARE_PEERS)
	@touch $@

$(NEUCODEC_PEERS)/.done: $(READY)
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target $(@D) $(NEUCODEC_PACKAGES)
	@touch $@
