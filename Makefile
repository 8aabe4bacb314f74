# Everything runs in .venv, made and filled when first needed and again only when pyproject.toml or constraints.txt change.
#   make demo PYTHON=python3.12                                              with that Python, where .venv is yet to be made
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo       torch without its gigabytes of CUDA (Linux)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test torture bench docs clean

help:
	@echo "make demo    train the custom ResNet on handwritten digits into runs/demo: offline, minutes"
	@echo "make test    linters, type checker, import contract, tests"
	@echo "make torture faults injected, inputs mutated, by the thousand: a table of what was tried and lost, about an hour"
	@echo "make bench   measure the speed of this machine, which should be idle: under half an hour"
	@echo "make docs    the documentation as a site, to be read from the disk: site/index.html"
	@echo "make clean   remove .venv, caches and builds; runs/ is kept"

demo: .venv/.installed-demo
	@if [ -e runs/demo ]; then \
		aside="runs/demo-$$(date -r runs/demo +%Y-%m-%dT%H-%M-%S)"; \
		while [ -e "$$aside" ]; do aside="$$aside+"; done; \
		mv runs/demo "$$aside"; \
		echo "runs/demo was there: it is now $$aside"; \
	fi
	$(BIN)/onecycle train digits --out runs/demo

test: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

torture: .venv/.installed-dev
	PYTHONPATH=tests $(BIN)/python -m torture

bench: .venv/.installed-bench
	NO_ALBUMENTATIONS_UPDATE=1 $(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/step_by_step.py custom_resnet fast94
	$(BIN)/python benchmarks/step_profile.py custom_resnet fast94
	$(BIN)/python benchmarks/scaling.py custom_resnet fast94

docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "wrote site/index.html"

clean:
	rm -rf .venv build dist site src/*.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "onecycle needs Python 3.11 or newer, which $(PYTHON) is not; name another: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
		exit 2; \
	}
	@echo "Making .venv with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv .venv
	@touch $@

# Of pip's lines the downloads and the summary are shown, its warnings and errors in full.
.venv/.installed-%: .venv/.made pyproject.toml constraints.txt
	@echo "Installing onecycle[$*] into .venv as pinned in constraints.txt: minutes the first time, torch is large"
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$*]' \
		| { grep --line-buffered -E '^ *(Downloading|Successfully installed)' || true; }
	@touch $@
