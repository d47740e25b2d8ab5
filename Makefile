# Scriptorium. `make run` trains everything; `make help` lists the rest. Needs Python 3.11+, git and make.
# DATA=… and MODEL=… choose presets of conf/; SCRIPTORIUM_MIRROR=<folder or address> is tried first for every download.

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
READY := .venv/.ready
APP_READY := .venv/.app-ready
SWEEP_READY := .venv/.sweep-ready
TEST_READY := .venv/.test-ready
SHARED_READY := .venv/.shared-ready
SERVICES_READY := .venv/.services-ready
BENCH_READY := .venv/.bench-ready
# PyTorch's CPU builds, for machines without an NVIDIA GPU: the plain package brings gigabytes of CUDA on Linux.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# Servers elsewhere: copy .env.example to .env
ifneq ($(wildcard .env),)
include .env
export $(shell sed -n 's/^\([A-Z][A-Z0-9_]*\)=.*/\1/p' .env)
endif

export PATH := $(BIN):$(PATH)
export SCRIPTORIUM_HOME ?= $(CURDIR)/.scriptorium
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
# PyTorch's threads meet at the end of every operator. GNU's OpenMP lets the first to come spin long before it sleeps, even
# where the other one waits for that very core: docs/performance.md, "Two trainings at once".
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 5000
endif

.DEFAULT_GOAL := help
.PHONY: help run refresh flows worker sweep compare chat app plan shared push pull promote rollback lineage serve bench bench-serve preset test torture test-services \
	lint audit ui stop sync doctor gc clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

$(READY): requirements.lock
	@test -d .venv || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Scriptorium needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the pinned packages into .venv (about a minute)"
	@$(BIN)/python -m pipeline.install --torch-cpu-index $(TORCH_CPU_INDEX) requirements.lock
	@touch $@

run: $(READY)  ## train: everything that is stale, and nothing else (DATA=embedded|own|book MODEL=nano|small|gpt2-124m compose presets first, SET="lora.rank=4 …" sets leaves)
	@$(if $(DATA)$(MODEL)$(SET),$(BIN)/python -m pipeline.preset $(if $(DATA),data=$(DATA)) $(if $(MODEL),model=$(MODEL)) $(SET))
	@$(BIN)/python -m flows.train $(if $(STAGES),--stages $(STAGES)) $(if $(PARALLEL),--parallel $(PARALLEL))

compare: $(READY)  ## results side by side, and whether they differ by more than noise: A=… B=… (ARGS='C D' PROMPT='…'; docs/compare.md)
	@$(BIN)/python -m flows.compare $(if $(A),"$$A") $(if $(B),"$$B") $(ARGS) $(if $(PROMPT),--prompt "$$PROMPT")

refresh: $(READY)  ## ask the followed sources whether they changed, and retrain what that makes stale (ARGS=--commit: commit the lock files)
	@$(BIN)/python -m flows.refresh $(ARGS)

flows: $(READY)  ## all deployments of prefect.yaml with their schedules, from one process, until Ctrl-C
	@$(BIN)/python -m flows.deploy serve

worker: $(READY)  ## the same through a work pool: deploys prefect.yaml, then works on what is due, until Ctrl-C
	@$(BIN)/python -m flows.deploy worker

$(SWEEP_READY): requirements-sweep.lock $(READY)
	@echo "Installing Optuna into .venv (seconds)"
	@$(BIN)/python -m pipeline.install --no-deps requirements-sweep.lock
	@touch $@

sweep: $(SWEEP_READY)  ## try many values of a few parameters, choosing on validation data (SWEEP=conf/sweep/learning_rate.yaml ARGS=--start-over)
	@$(BIN)/python -m flows.sweep $(or $(SWEEP),conf/sweep/learning_rate.yaml) $(ARGS)

chat: $(READY)  ## talk to what was trained, also through pipes (ARGS='--complete "Long ago"': one answer; ARGS=--help: more)
	@$(BIN)/python -m serving.chat $(ARGS)

$(APP_READY): requirements-app.lock $(READY)
	@echo "Installing the page's library into .venv (seconds)"
	@$(BIN)/python -m pipeline.install --no-deps requirements-app.lock
	@touch $@

app: $(APP_READY)  ## the same as a page on 127.0.0.1 (PORT=8501 ARGS='--weights int8')
	@$(BIN)/python -m serving.app $(if $(PORT),--port $(PORT)) $(ARGS)

plan: $(READY)  ## what would run, and why
	@$(BIN)/python -m flows.train --plan

promote: $(READY)  ## register what was trained; the better model becomes champion (MODEL=scriptorium-assistant; ARGS=--again)
	@$(BIN)/python -m flows.promote $(MODEL) $(ARGS)

rollback: $(READY)  ## make the champion before this one champion again: MODEL=scriptorium-assistant
	@$(BIN)/python -m flows.promote --rollback $(MODEL)

lineage: $(READY)  ## what made a model, back to every source file: MODEL=scriptorium-assistant@champion (CHECKOUT=folder)
	@$(BIN)/python -m tasks.trace $(MODEL) $(if $(CHECKOUT),--checkout $(CHECKOUT))

serve: $(READY)  ## the champions over HTTP on 127.0.0.1 (ARGS=--workers 2; ASSISTANT_PORT=5101 CLASSIFIER_PORT=5102)
	@$(BIN)/python -m flows.serve $(ARGS)

$(BENCH_READY): requirements-bench.lock $(READY)
	@echo "Installing the benchmarks' peers into .venv (seconds)"
	@$(BIN)/python -m pipeline.install --no-deps requirements-bench.lock
	@touch $@

bench: $(BENCH_READY)  ## this project beside its peers, into docs/performance.md (NAME="training generation" SIZE=1000 TEXT=my.txt OUT=page.md; OUT=-: only print)
	@test -f models/base/model.safetensors -o "$(NAME)" = gpu || $(MAKE) run  # some of them start from what was trained
	@$(BIN)/python -m benchmarks $(NAME) $(if $(SIZE),--size $(SIZE)) $(if $(TEXT),--text "$$TEXT") $(if $(OUT),--out $(OUT))

bench-serve: $(READY)  ## requests a second and latencies of the served champions (ARGS='assistant --requests 100')
	@$(BIN)/python -m benchmarks.serve $(ARGS)

$(SHARED_READY): requirements-shared.lock $(READY)
	@echo "Installing the clients of PostgreSQL and S3 into .venv (seconds)"
	@$(BIN)/python -m pipeline.install --no-deps requirements-shared.lock
	@touch $@

shared: $(SHARED_READY)  ## install the clients of PostgreSQL and S3, for shared services (.env.example, docs/services.md)

push: $(READY)  ## results to the team: DVC's outputs and run cache, to the remote SCRIPTORIUM_REMOTE
	@$(BIN)/python -m tasks.share push

pull: $(READY)  ## results of the team, from there
	@$(BIN)/python -m tasks.share pull

preset: $(READY)  ## compose DATA=… and MODEL=… into params.yaml, and SET="lora.rank=4 …"
	@$(BIN)/python -m pipeline.preset $(if $(DATA),data=$(DATA)) $(if $(MODEL),model=$(MODEL)) $(SET)

$(TEST_READY): requirements-test.lock requirements-dask.lock $(APP_READY) $(SWEEP_READY)
	@echo "Installing what the tests need into .venv"
	@$(BIN)/python -m pipeline.install --no-deps requirements-test.lock
	@$(BIN)/python -m pipeline.install --no-deps requirements-dask.lock
	@touch $@

test: $(TEST_READY)  ## the whole test suite
	@$(BIN)/python -m pytest $(ARGS)

torture: $(TEST_READY)  ## the long tests: kills, mutations, every parameter leaf; ends with its figures
	@$(BIN)/python -m pytest tests/torture -m torture -vv -n 2 --dist loadfile $(ARGS)

$(SERVICES_READY): requirements-services.lock $(TEST_READY) $(SHARED_READY)
	@$(BIN)/python -m pipeline.install --no-deps requirements-services.lock
	@touch $@

test-services: $(SERVICES_READY)  ## shared services, against a real PostgreSQL (Debian: apt install postgresql) and an S3 server
	@$(BIN)/python -m pytest -m services tests/services $(ARGS)

lint: $(TEST_READY)  ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

audit: $(READY) .venv/audit/.ready  ## known advisories of the pinned packages; what SECURITY.md explains is passed over (needs the network)
	@for lock in requirements*.lock; do \
		echo "$$lock" && .venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r $$lock \
			$$(grep -oE '^\| *(PYSEC|CVE|GHSA)-[A-Za-z0-9-]+' SECURITY.md | sed 's/^| */--ignore-vuln /') || exit 1; \
	done

.venv/audit/.ready: requirements-audit.lock $(READY)
	@$(BIN)/python -m venv .venv/audit && .venv/audit/bin/pip install -q --no-deps -r requirements-audit.lock
	@touch $@

ui: $(READY)  ## MLflow's and Prefect's pages on 127.0.0.1
	@$(BIN)/python -m flows.services ui

stop: $(READY)  ## end what was started in the background
	@$(BIN)/python -m flows.services stop

sync: $(READY)  ## send what the tracking server missed
	@$(BIN)/python -m pipeline.sync

doctor: $(READY)  ## what kills and full disks left behind, cleared where that is safe (ARGS=--look: change nothing; ARGS=--all: all of DVC's cache)
	@$(BIN)/python -m flows.doctor $(ARGS)

gc: $(READY)  ## free outputs that no workspace, commit, tag or experiment uses, and what lay untouched for DAYS=7
	@$(BIN)/dvc gc --workspace --all-commits --all-experiments --force
	@$(BIN)/python -m pipeline.gc $(if $(DAYS),--days $(DAYS))

clean:  ## start over: removes outputs, caches, runs and the virtual environment (asks nothing)
	@test ! -x $(BIN)/python || $(BIN)/python -m flows.services stop 2>/dev/null || true  # half installed, nothing runs
	@rm -rf .scriptorium .dvc/cache .dvc/tmp .venv dvc.lock models reports data/raw data/tokenizer data/tokens data/samples dvc_plots
	@echo "Clean: the next make run starts from nothing. data/own and params.yaml are as they were."
