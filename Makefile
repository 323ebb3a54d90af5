# make demo and make test are all a newcomer needs: git, make and Python 3.11+ are enough.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
export GOMP_SPINCOUNT = 0
export UV_COMPILE_BYTECODE = 1
# as images of containers set it: every process would compile all modules anew, and pytest rewrite every assertion
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-all chaos spark pdf browser test-spark check bench lock clean

demo: $(STAMP)
	$(BIN)/winback demo

# FLAGS=--cov measures coverage, which takes half as long again
test: $(STAMP)
	$(BIN)/python -m pytest $(FLAGS)

# the statistical tests with all their samples, and all malformed inputs
test-all: $(STAMP)
	$(BIN)/python -m pytest --full $(FLAGS)

# kills, full disks, damaged files and two writers at once, on a small app: 80 CPU minutes; ONLY=kill takes some of them,
# EVERY=6 every sixth try, KEEP=folder keeps the app for the next slice, which FIRST=3 lets begin at the fourth
chaos: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python -W ignore -m chaos --only "$(ONLY)" --every $(or $(EVERY),1) \
	--from $(or $(FIRST),0) $(if $(KEEP),--keep "$(KEEP)") --json data/chaos.json

# the optional engine: 400 MB and Java 17, so that make test does without
spark: $(STAMP)
	@uv=$$(command -v uv || echo .uv/bin/uv); \
	$$uv pip install --quiet --python $(BIN)/python -r pyproject.toml --extra spark -c requirements.lock

# the report on paper (winback report --pdf); on Debian with apt-get install libpangoft2-1.0-0
pdf: $(STAMP)
	@uv=$$(command -v uv || echo .uv/bin/uv); \
	$$uv pip install --quiet --python $(BIN)/python -r pyproject.toml --extra pdf -c requirements.lock

# the browser of the desk's tests and pictures, where this machine is Debian's and ours to change
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	{ export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 || \
	echo "no browser: tests of the desk in one are skipped"

test-spark: spark
	$(BIN)/python -m pytest tests/test_spark_executor.py -n 0

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# every benchmark at full size, one after the other: hours; BENCH=bench_allocation.py runs one, QUICK=--quick small ones
bench: $(STAMP)
	@set -e; for bench in $(or $(BENCH),$(notdir $(wildcard tests/benchmarks/bench_*.py))); do \
	echo "== $$bench" >&2; $(BIN)/python -W ignore tests/benchmarks/$$bench $(QUICK); done

# uv from the path, or from pip into a folder of its own; a second call installs nothing
$(STAMP): requirements.lock pyproject.toml
	@command -v uv >/dev/null || test -x .uv/bin/uv || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet "uv>=0.9"; }
	@uv=$$(command -v uv || echo .uv/bin/uv); set -e; \
	test -x $(BIN)/python || $$uv venv --quiet --python $(PYTHON) .venv; \
	$$uv pip install --quiet --python $(BIN)/python -r requirements.lock; \
	$$uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# no address of a registry may stand in the lock
lock:
	@uv=$$(command -v uv || echo .uv/bin/uv); \
	$$uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header pyproject.toml --group demo --group test -o requirements.lock

clean:
	rm -rf .venv .uv data .mypy_cache .pytest_cache .ruff_cache .coverage
