# make demo    set everything up and run a federation of five facilities on synthetic images
# make test    set everything up and run all tests
# make help    the other targets

PYTHON ?= python3
VENV   := .venv
PERIOD ?= 60
BIN    := $(VENV)/bin
# one process a core, four at most; a module's tests stay together, for they share what is slow
PYTEST := $(BIN)/python -m pytest
SPREAD := -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder
READY  := $(VENV)/.ready

.PHONY: demo test texts test-station test-browser test-control control-demo station-demo test-hostile test-fast test-long test-faults test-processes test-wheel test-hosts test-attack test-compose nodes settings lint clean help

demo: $(READY)
	$(BIN)/fedpatchcore demo

test: $(READY)
	OMP_NUM_THREADS=1 $(PYTEST) $(SPREAD)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 7 GB and 2 to 5 minutes the first time)"
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -e '.[test]'
	@# pip compiles one file at a time; all cores do, and a template that is no Python is no fault
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $(READY)

test-fast: $(READY)   ## tests without real processes and real data
	OMP_NUM_THREADS=1 $(PYTEST) $(SPREAD) -m "not slow and not long"

test-long: $(READY)   ## the tests that make test leaves out for their length (ten minutes)
	OMP_NUM_THREADS=1 $(PYTEST) $(SPREAD) -m long

test-faults: $(READY) ## kill, cut, fill, expire: a deployed federation of real processes (half an hour)
	$(PYTEST) tests/faults -rs

test-processes: $(READY) ## hostile sites, private runs, secure sums, methods that train: over real processes (a quarter of an hour)
	$(PYTEST) tests/processes -rs

test-station: $(READY) ## a station of real processes: killed, filled, locked, flooded, soaked (ten minutes)
	$(PYTEST) tests/station_faults -rs

test-browser: $(READY) ## control room and station in a real browser (needs chromium: apt-get install chromium)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,browser]'
	$(PYTEST) tests/browser -rs

test-control: $(READY) ## the control room on PostgreSQL, under Prometheus, killed and starved (minutes)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,postgresql,mlflow,dashboards]'
	$(PYTEST) tests/rooms -rs

control-demo: $(READY) ## a control room with five plants, three runs, banks, an alarm; then a page to click
	$(BIN)/fedpatchcore control demo

station-demo: $(READY) ## a station on the demo's bank, parts that fall, some defective; then pages to click
	$(BIN)/fedpatchcore station demo

test-wheel: $(READY)  ## an installed wheel in an empty folder, and an upgrade with wheels of three versions
	$(PYTEST) tests/wheel -rs

test-hosts: $(READY)  ## the walk-through on network namespaces, tricks at the proxy, links, a systemd (as root)
	$(PYTEST) tests/hosts -rs -s

test-attack: $(READY) ## a changed app goes for the images of sites of several users (as root, three minutes)
	$(PYTEST) tests/attack -rs

test-compose:         ## docker compose up on a real engine; ends with image sizes and the table
	tests/compose/run

nodes: $(READY)       ## the demo's data, one SuperNode process a site instead of a simulation
	$(BIN)/fedpatchcore demo --nodes

test-hostile: $(READY) ## every door fed with damaged and hostile input, a minute each (PERIOD=seconds)
	HOSTILE_SECONDS=$(PERIOD) OMP_NUM_THREADS=1 $(PYTEST) $(SPREAD) tests/hostile -rP

texts: $(READY)       ## take new texts of the station's pages into its catalogues, and compile them
	$(BIN)/python -m tests.support.speech

settings: $(READY)    ## write the lists of settings in pyproject.toml, docs/ and README.md anew
	$(BIN)/python -m tests.support.lists
	@touch $(READY)   # pyproject.toml is newer now, but asks for nothing new

lint: $(READY)        ## style, common mistakes, and doors between rooms that open the wrong way
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

clean:                ## remove the environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

help:                 ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */: /; s/^/make /'
