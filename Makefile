# Clearway's commands. A fresh machine needs Python 3.11 or 3.12, make and a package index; nothing else.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
UV_VERSION := 0.13.9
UV := .bootstrap/bin/uv
BIN := .venv/bin
INSTALLED := .venv/.installed
NATIVE := .venv/lib/native
export LD_LIBRARY_PATH := $(CURDIR)/$(NATIVE)$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))
# Some images forbid byte code, and every process would compile what it imports: twice the time of everything.
unexport PYTHONDONTWRITEBYTECODE
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
export UV_NO_PROGRESS := 1
# Most of the tests' time is waiting: for a rollout's window, a server that starts, a schedule.
WORKERS ?= 2
export DAGSTER_DISABLE_TELEMETRY := yes
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help all install llm run copilot knowledge replay ui stop status test check bench format clean

help:  ## This list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED)  ## Install the locked environment into .venv.

$(INSTALLED): uv.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No python3.11 or python3.12 found; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(UV) || { echo "installing uv $(UV_VERSION)"; $(PYTHON) -m venv .bootstrap && .bootstrap/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@echo "installing the locked environment into .venv"
	@$(UV) sync --locked --quiet --python $(PYTHON)
	@$(MAKE) --no-print-directory $(NATIVE)
	@touch $(INSTALLED)

# LightGBM's wheel needs libgomp from the system; where there is none, scikit-learn's own copy serves.
$(NATIVE):
	@mkdir -p $(NATIVE)
	@$(BIN)/python -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || ln -sf $$(realpath .venv/lib/python3.*/site-packages/scikit_learn.libs/libgomp-*.so*) $(NATIVE)/libgomp.so.1

llm: install  ## vLLM in .venv-llm and a small model for it; optional: minutes, 4 GB. On a GPU machine the GPU build.
	@$(BIN)/python -m serving.llm.install

run: install  ## Land the sample, run the life cycle, leave the service answering.
	@$(BIN)/python -m orchestration.run

all: run knowledge llm rollouts copilot  ## Everything there is to see: run, knowledge, llm, rollouts, copilot.

rollouts: install  ## Canaries of a sound and of a broken version, with real requests; after run.
	@$(BIN)/python -m orchestration.show_rollouts

copilot: install  ## A language model tuned on this project's metrics, proven and released; after run and llm.
	@$(BIN)/python -m orchestration.copilot

knowledge: install  ## Things, documents, graph and vectors, published and searchable; after run.
	@$(BIN)/python -m orchestration.knowledge

replay: install  ## The sample's year again in data time: watched, reviewed, retrained; DAYS=n for fewer days.
	@$(BIN)/python -m orchestration.replay $(if $(DAYS),--days $(DAYS))

ui: install  ## Dagster's webserver and daemon, and MLflow's page.
	@$(BIN)/python -m orchestration.ui

status: install  ## What runs.
	@$(BIN)/python -m orchestration.ui status

stop: install  ## Stop everything that run and ui started.
	@$(BIN)/python -m orchestration.ui stop

test: install  ## All tests, two at a time; WORKERS=0 for one, TESTS=path for some.
	@$(BIN)/python -m pytest -q -n $(WORKERS) $(TESTS)

check: install  ## Formatting, lint, types, import rules, definitions.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install  ## Format and mend what ruff can mend.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: install  ## Measure; ONLY=name for one.
	@$(BIN)/python -m benchmarks $(ONLY)

clean:  ## Remove the environments; state under .clearway stays.
	rm -rf .venv .venv-llm .bootstrap .mypy_cache .ruff_cache
