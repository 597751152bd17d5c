# Everything a contributor runs. Each target does all of its own set-up.
SHELL := /bin/bash
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .build/uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
PYTEST := $(RUN) pytest
JOBS ?= 2
SEEDS ?= 200
GAIN_SEEDS ?= 10
DAYS ?= 0.05
# Written once, read by each of the hundreds of processes that the tests start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: .venv ## the story on real servers (KEEP=1 leaves them up; CALENDAR=google|outlook|caldav|ical)
	$(RUN) python -m demo $(if $(CALENDAR),--calendar $(CALENDAR)) $(if $(KEEP),--keep)

.PHONY: demo-cluster
demo-cluster: .venv ## the same story on a real kube-apiserver with the chart's own RBAC
	$(RUN) python -m demo --cluster $(if $(CALENDAR),--calendar $(CALENDAR)) $(if $(KEEP),--keep)

.PHONY: test
test: .venv ## every test, real servers included
	$(PYTEST) -n $(JOBS) -m "not server" --ignore=tests/simulation tests
	SEEDS=$(SEEDS) DAYS=$(DAYS) $(PYTEST) -n $(JOBS) tests/simulation
	$(RUN) python -m testbed build prometheus prometheus3 postgres caldav airflow airflow-fab airflow-keycloak kubernetes helm
	$(PYTEST) -n $(JOBS) --dist loadfile -m server --ignore=tests/simulation tests

.PHONY: test-fast
test-fast: .venv ## the half without servers
	$(PYTEST) -n $(JOBS) -m "not server" tests

.PHONY: simulate
simulate: .venv ## longer voyages: make simulate SEEDS=10000 DAYS=1
	SEEDS=$(SEEDS) DAYS=$(DAYS) $(PYTEST) -n $(JOBS) -m "not server" tests/simulation

.PHONY: simulate-year
simulate-year: .venv ## a whole year of a busy team, month by month
	YEAR=1 $(PYTEST) -n $(JOBS) tests/simulation -k season

.PHONY: check
check: .venv ## format, lint, types, imports, generated files in step
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	PYTHONPATH=operator:packages/slackwater-windows:packages/slackwater-airflow $(RUN) lint-imports --no-cache
	$(RUN) python -m slackwater.api.crd .build/crds && diff -r .build/crds crds
	$(RUN) python hack/sync_chart.py --check
	$(RUN) python hack/reference.py --check
	$(UV) lock --check

.PHONY: generate
generate: .venv ## write generated files anew
	$(RUN) python -m slackwater.api.crd crds
	$(RUN) python hack/sync_chart.py
	$(RUN) python hack/reference.py
	$(RUN) ruff format .

.PHONY: screenshots
screenshots: .venv ## take the documentation's pictures anew, of a real Airflow in a browser
	$(RUN) python hack/screenshots.py

.PHONY: bench
bench: .venv ## measured figures, as ratios side by side
	$(RUN) python -m bench

.PHONY: backtest
backtest: .venv ## the off-peak benchmark; TRACES=DIR, SHARD=1/8, GAIN_SEEDS=10; goes on where it was
	$(RUN) python -m bench.gains $(if $(TRACES),--traces $(TRACES)) --shard $(or $(SHARD),1/1) --seeds $(GAIN_SEEDS)
	$(RUN) python -m bench.gains $(if $(TRACES),--traces $(TRACES)) --seeds $(GAIN_SEEDS) --report

.venv: pyproject.toml packages/slackwater-windows/pyproject.toml uv.lock $(if $(filter .build/%,$(UV)),$(UV))
	$(UV) sync --frozen --quiet
	@touch .venv

.build/uv/bin/uv:
	python3 -m venv .build/uv
	.build/uv/bin/pip install --quiet uv
