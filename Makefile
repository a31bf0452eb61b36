# Two commands on a fresh machine: `make run` and `make test`. Each makes what it needs, in .venv.

PYTHON ?= python3
PROCESSES ?= 5
VENV := .venv
BIN := $(VENV)/bin
CORE_TESTS := tests/stomp tests/sockjs/protocol tests/hub tests/delivery tests/contracts tests/timing tests/cluster/mailbox \
	tests/cluster/ledger
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: run cluster test test-fast docs journeys coverage check soak chaos bench bench-peers format clean tools

run: $(VENV)/.run
	$(BIN)/stomp-notify serve

# Three nodes and the Valkey that joins them, with the page on each.
cluster: $(VENV)/.dev
	$(BIN)/python deploy/local_cluster.py

test: $(VENV)/.dev tools
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

# The tests that start no server and no other process.
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest --fast --numprocesses 3 --dist worksteal -r fE

# The pure core is held to full branch coverage; apart from `test`, because watching every line takes its time.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --cov --cov-report=term-missing:skip-covered $(CORE_TESTS)

# Half an hour of pushes to clients that come and go: fails unless the memory of the service reaches a plateau.
# `make soak SOAK="--minutes 10 --log-size 20000"` is shorter: half of the time has to fill the log.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(SOAK)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages that are generated: docs/settings.md and .env.example.
docs: $(VENV)/.dev
	$(BIN)/python -m app.settings.reference

# Counts the calls of five journeys through the code and writes docs/journeys.md.
journeys: $(VENV)/.dev
	$(BIN)/python -m bench.journeys --write docs/journeys.md

# Every fault, with an account of what reached which session: about 20 minutes. A full run writes docs/chaos.md;
# `make chaos SCENARIOS="valkey-restart link-cut"` runs some. It fails if a promise was broken.
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos $(SCENARIOS)

# Everything that is measured, with a table, a plot and JSON in bench/results: minutes, on a machine that does nothing
# else. `make bench SCENARIOS="storm idle"` runs some and writes nothing.
bench: $(VENV)/.bench
	$(BIN)/python -m bench $(SCENARIOS)

# And beside other servers: Socket.IO (npm) and RabbitMQ Web STOMP (Debian's rabbitmq-server), where they are installed.
bench-peers: $(VENV)/.bench
	$(BIN)/python -m bench --peers $(SCENARIOS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) tests/interop/node_modules tests/interop/.build bench/peers/node_modules

# Node.js, Chromium, Java, Go and other programs that PyPI does not have and tests need. Where they cannot be installed from here,
# those tests say why they are skipped; in CI that is a failure.
tools:
	@sh tests/install_tools.sh

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable '.[dev,bench]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name it with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
