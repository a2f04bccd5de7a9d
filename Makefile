# make install | repro | test | check | bench | bench-converters | conformance | zoo | fuzz; each installs what is missing first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := repro
.PHONY: install repro test check bench bench-converters conformance zoo fuzz lock

# Any Python 3.11 will do: make install PYTHON=/path/to/python3.11
PYTHON ?=
# What test, bench, bench-converters, conformance, zoo and fuzz get besides, e.g. make bench ARGS='--quick startup'
ARGS ?=
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

install: .venv/.installed

# A dot for each package; pip's warnings are in .venv/install.log with all the rest.
PIP_INSTALL := python -m pip install --progress-bar off --log .venv/install.log
# Builds of PyTorch differ from machine to machine, so it is pinned by version alone, and so is what a build brings.
PYTORCH = $(shell sed -n 's/^ *"\(torch[a-z]*==[^"]*\)".*/\1/p' pyproject.toml)
DOTS := awk '/^ *(Collecting|Building|Installing)/ { printf "."; fflush() } /^Installing/ { printf " unpacking"; fflush() } END { print "" }'
# What packages are built with, which is installed before them and used instead of what pip would fetch.
BUILD_TOOLS := awk '/^[^ ]/ { wanted = /^(setuptools|wheel)==/ } wanted' requirements.lock

.venv/.installed: pyproject.toml requirements.lock
	@python=; for found in $(or $(PYTHON),python3.11 python3); do \
	  if "$$found" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
	  then python=$$found; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python 3.11 with venv was found. On Debian or Ubuntu: apt install python3.11-venv," \
	    "or name one: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11" >&2; exit 1; fi; \
	[ -x .venv/bin/pip ] || { echo "creating .venv"; "$$python" -m venv .venv; }
	@printf 'installing into .venv, once: 4 GB, or 8 with PyTorch for GPUs '
	@$(BUILD_TOOLS) > .venv/build-tools.lock
	@$(PIP_INSTALL) -qq --require-hashes --no-deps --requirement .venv/build-tools.lock 2> >(grep -v ^WARNING >&2)
	@$(PIP_INSTALL) --require-hashes --no-deps --no-build-isolation --requirement requirements.lock \
	  2> >(grep -v ^WARNING >&2) | $(DOTS)
	@printf 'installing PyTorch '; $(PIP_INSTALL) $(PYTORCH) 2> >(grep -v ^WARNING >&2) | $(DOTS)
	@$(PIP_INSTALL) -qq --no-deps --no-build-isolation --editable .
	@git config core.hooksPath >/dev/null || git config core.hooksPath "$$(git rev-parse --show-prefix).githooks" 2>/dev/null || true
	@touch $@

# The default pipeline, from data to a measured model, and what it measured.
repro: install
	@edgepress check
	@dvc repro
	@edgepress results

# In the order of the folders: the pipeline's files, which take longest, do not come last.
test: install
	@pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: install
	@ruff format --check --quiet .
	@ruff check --quiet .
	@mypy --no-error-summary
	@lint-imports --no-logo
	@edgepress check

bench: install
	@python -m tests.bench.bench $(ARGS)

# Against litert-torch, onnx2tf, onnx-tf and litert-quantizer, in environments of their own in .bench/. onnx2tf wants
# Python 3.12 or newer: of the path, of pyenv, or that of EDGEPRESS_BENCH_PYTHON. Fails if a goal is missed.
bench-converters: install
	@python -m tests.bench.peers.converters $(ARGS)

# 50,000 mutated files through every reader of what users and devices hand over: minutes.
fuzz: install
	@python -m tests.mutations $(or $(ARGS),50000)

# The ONNX standard's node tests through both converters.
conformance: install
	@python -m tests.conformance.conformance $(ARGS)

# 70 architectures of torchvision and timm, and small networks of other tasks, float32 and int8, into
# docs/architectures.md: more than an hour; the latter alone take minutes: make zoo ARGS='--only own'
zoo: install
	@python -m tests.zoo.zoo $(ARGS)

# Pins what .venv holds now, after dependencies were changed by hand: by version, and by the hashes of all files
# of that version, so that one lock serves all machines. The runtimes are pinned for boards of any Python, too.
lock:
	@pip freeze --all --exclude-editable | grep -vE '^(pip|torch|torchvision|triton|nvidia-.*|cuda-.*)==' \
	  > .venv/versions.txt
	@{ echo "# Every package of the environment but PyTorch's, by version and hash. Made by: make lock"; \
	  uv pip compile --quiet --no-header --no-annotate --generate-hashes --no-deps .venv/versions.txt; } \
	  > .venv/requirements.lock
	@{ echo "# What a board or the emulator needs, by version and hash. Made by: make lock"; \
	  grep -E '^(ai-edge-litert|onnxruntime)==' .venv/versions.txt | \
	  uv pip compile --quiet --no-header --no-annotate --generate-hashes --universal \
	    --constraint .venv/versions.txt -; } > .venv/runtimes.lock
	@mv .venv/requirements.lock requirements.lock && mv .venv/runtimes.lock edgepress/provision/runtimes.lock
	@touch .venv/.installed
