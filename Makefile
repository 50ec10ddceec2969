# Everything a checkout needs: Python 3.11 and make. No Java, Maven, Docker or Node.
#
#   make setup   a .venv from the locks, and the embedded Kafka's jars; quick when nothing changed
#   make run     broker, worker, simulator and the bars in the terminal
#   make test    make check, then all tests; ARGS="-k name" chooses
#   make simulate   simulated histories of crashes and faults: SEEDS=200 of them, from seed FIRST=0 on
#   make planted mistakes planted in the engine, and how many histories find each
#   make chaos   workers, broker and disks that fail under load; SEED=1 MINUTES=10 WORKERS=3
#   make chaos-sinks   the stores of the sinks that fail under load; SEED=1 MINUTES=0 ARGS="--sinks influx"
#   make killing REPLAY=FILE   a run whose workers are killed every 5 s, against an undisturbed one
#   make bench   the benchmarks; ARGS are of the first, bars
#   make bench-peers   what the first of them measures beside: Quix Streams, Bytewax, Kafka Streams
#   make scaling the same backlog with 1, 2 and 4 workers
#   make rebalances   pauses of bars when workers join, leave and die
#   make restore rows a second from changelog and local store, against Faust's
#   make soak    an hour at half of the machine; MINUTES=60
#   make check   lint, format, types, import rules, files that are made from code
#   make promtool   Prometheus and promtool into .venv, for the tests of rules and dashboards
#   make influxd a real InfluxDB for tests and benchmarks, built from source: Go, cargo, 5 minutes
#   make lock    writes the locks anew; needs uv
#   make clean   removes what set-up and the tools made; never data/

PYTHON ?= $(shell command -v python3.11 || command -v python3)
ARGS ?=
UV ?= uv
# Of pytest, each with a Kafka of its own: most tests wait for one, so more than there are cores.
PROCESSES ?= 3
SEEDS ?= 200
FIRST ?= 0
SEED ?= 1
MINUTES ?=
WORKERS ?= 3
REPLAY ?=

BIN := .venv/bin
STAMP := .venv/.set-up
# A newer pip is no news during set-up.
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := setup
.PHONY: setup run test chromium postgresql promtool influxd simulate planted chaos chaos-sinks killing bench bench-peers scaling rebalances \
  restore soak check lock clean

setup: $(STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || \
	  { echo "Python 3.11 is needed, $(PYTHON) is another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

COMPILED := $(wildcard $(foreach folder,tables tables/indicators app/streaming app/archive app/sinks,\
  $(folder)/*.pyx $(folder)/*.pxi))

# The chart library is JavaScript in a wheel (app/web/charts.py); its Python part is never imported,
# so what that part needs is left out.
# Without build isolation the checkout itself asks for nothing that the lock does not hold.
$(STAMP): $(BIN)/python requirements-dev.lock requirements-charts.lock pyproject.toml setup.py $(COMPILED) app/broker/kafka-4.1.0.sha256
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	$(PIP) install --quiet --require-hashes --no-deps --only-binary :all: -r requirements-charts.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m app.broker
	@touch $@

run: $(STAMP)
	@exec $(BIN)/candlewick up $(ARGS)

test: check chromium postgresql promtool
	$(BIN)/python -m pytest tests -n $(PROCESSES) --dist loadfile $(ARGS)

# For the browser tests; where this cannot install it they are skipped, and say what to do.
chromium:
	@if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "installing chromium for the browser tests"; \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	    chromium; } >/dev/null 2>&1 || echo "chromium cannot be installed here" >&2; \
	fi

# For the tests of its sink, which run its programs by hand: no cluster is made that a service could
# start. Where this cannot install it they are skipped, and say what to do.
POSTGRES_NONE := /etc/postgresql-common/createcluster.d/candlewick.conf
postgresql:
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && command -v apt-get >/dev/null \
	  && [ "$$(id -u)" = 0 ]; then \
	  echo "installing postgresql for the tests of its sink"; \
	  { mkdir -p $(dir $(POSTGRES_NONE)) && echo 'create_main_cluster = false' > $(POSTGRES_NONE) && \
	    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	    postgresql; } >/dev/null 2>&1 || echo "postgresql cannot be installed here" >&2; \
	  rm -f $(POSTGRES_NONE); \
	fi

# Unpacked, not installed: the package would start a service. Without it those tests are skipped, and
# say what to do.
promtool: $(STAMP)
	@if [ ! -x $(BIN)/promtool ] && ! command -v promtool >/dev/null && command -v apt-get >/dev/null; then \
	  echo "unpacking prometheus for the tests of rules and dashboards"; \
	  folder=$$(mktemp -d) && { cd "$$folder" && { apt-get download prometheus || \
	    { apt-get update && apt-get download prometheus; }; } && dpkg -x prometheus_*.deb . && \
	    install -m 755 usr/bin/prometheus usr/bin/promtool "$(CURDIR)/$(BIN)"; } >/dev/null 2>&1 || \
	    echo "prometheus cannot be unpacked here" >&2; rm -rf "$$folder"; \
	fi

# Into the user's cache, beside Kafka's jars; without it those tests are skipped, and say so.
influxd:
	@sh deploy/influxdb/build/build.sh

simulate: $(STAMP)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) $(ARGS)

planted: $(STAMP)
	$(BIN)/python -m tests.simulation.planted $(ARGS)

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(or $(MINUTES),10) --workers $(WORKERS) $(ARGS)

chaos-sinks: $(STAMP)
	$(BIN)/python -m tests.chaos.sinks --seed $(SEED) --minutes $(or $(MINUTES),0) $(ARGS)

killing: $(STAMP)
	$(BIN)/python -m tests.chaos.killing --replay $(REPLAY) $(ARGS)

scaling: $(STAMP)
	$(BIN)/python -m tests.bench.scaling $(ARGS)

rebalances: $(STAMP)
	$(BIN)/python -m tests.bench.rebalances $(ARGS)

restore: $(STAMP)
	$(BIN)/python -m tests.bench.restore $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m tests.bench.soak --minutes $(or $(MINUTES),60) $(ARGS)

# Into the user's cache: they do not resolve with ours. Kafka Streams needs a javac.
bench-peers: $(STAMP)
	$(BIN)/python -m tests.bench.peers

bench: $(STAMP)
	$(BIN)/python -m tests.bench $(ARGS)
	$(BIN)/python -m tests.bench.formats
	$(BIN)/python -m tests.bench.latency
	$(BIN)/python -m tests.bench.scale
	$(BIN)/python -m tests.bench.indicators
	$(BIN)/python -m tests.bench.closing
	$(BIN)/python -m tests.bench.inference
	$(BIN)/python -m tests.bench.serving
	$(BIN)/python -m tests.bench.predicting
	$(BIN)/python -m tests.bench.tracing
	$(BIN)/python -m tests.bench.scrape
	$(BIN)/python -m tests.bench.archive
	$(BIN)/python -m tests.bench.influx
	$(BIN)/python -m tests.bench.postgres

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_import_rules.py
	$(BIN)/python -m app.observe.rules
	$(BIN)/python -m app.observe.dashboards

# Neither the locks' headers nor their lines name a registry or a folder of the machine.
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-header --no-emit-index-url pyproject.toml

# As in app/web/charts.py; tests/web/test_html.py compares.
CHARTS := lwcharts==0.3.0

lock:
	$(LOCK) -o requirements.lock
	$(LOCK) --extra dev --constraint requirements.lock -o requirements-dev.lock
	echo '$(CHARTS)' | $(UV) pip compile --quiet --no-deps --generate-hashes --no-header \
	  --no-emit-index-url --no-annotate -o requirements-charts.lock -

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find app agents tables models tests -name __pycache__ -type d -prune -exec rm -rf {} +
