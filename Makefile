# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Every target sets up .venv by itself, once. Needs python3 (3.11 or newer, with venv and its shared library), g++,
# make and perl. PYTHON=/path/to/python3 chooses the Python.

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/installed

# The stamp holds the folder it was made in, so a copy of this folder does not run the original's code.
ifneq ($(file <$(STAMP)),$(CURDIR))
.PHONY: $(STAMP)
endif

unexport PYTHONPATH PYTHONHOME # they would put other packages before those of .venv

.PHONY: help install demo test lint check format generate bench synthesis coverage clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || grep '##' Makefile

install: $(STAMP) ## set up .venv (about 6 GB, most of it PyTorch)

demo: $(STAMP) ## train, export, verify and report at demo size; writes runs/demo/
	@$(RUN) -m m3vit.scripts.cli demo

test: check ## lint and all tests; the last line is pytest's summary
	@$(RUN) -m pytest

lint: check ## ruff, mypy, and Verilator on every module
	@$(RUN) -m pytest -q tests/rtl/test_lint.py

check: $(STAMP) ## ruff and mypy
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: $(STAMP) ## let ruff rewrite the Python files
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

generate: $(STAMP) ## rewrite the generated SystemVerilog files
	@$(RUN) -m m3vit.rtl.generate

bench: $(STAMP) ## full-size frames, schedules, 1,000 frames and 12,000 faults in RTL; an hour; writes runs/
	@$(RUN) -m m3vit.scripts.cli bench
	@$(RUN) -m m3vit.scripts.cli ablation
	@M3VIT_BENCH_FRAMES=1000 M3VIT_BENCH_FAULTS=10000 $(RUN) -m pytest tests/rtl/test_frame_faults.py tests/rtl/test_random_programs.py

synthesis: $(STAMP) ## count resources with Yosys, only blocks that changed; rewrites sim/synthesis_counts.json
	@$(RUN) -m m3vit.sim.synthesis

coverage: $(STAMP) ## RTL tests with line, branch and toggle coverage; writes runs/coverage/
	@rm -rf runs/coverage/counts
	@M3VIT_COVERAGE=runs/coverage/counts $(RUN) -m pytest -q tests/rtl --ignore tests/rtl/test_lint.py
	@$(RUN) -m m3vit.scripts.cli coverage

clean: ## remove caches and build folders; .venv, runs and compiled simulators stay
	rm -rf build dist src/m3vit.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find hls model rtl scripts sim src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@python=$$(PYTHON='$(PYTHON)' .ci/prerequisites) && { test -x $(RUN) || "$$python" -m venv $(VENV); }
	@echo "installing m3vit and its packages into $(VENV) (the first time: minutes, about 6 GB)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@printf '%s' '$(CURDIR)' > $@
