# make env   the environment in .venv, installed again only when the lock or pyproject changes
# make test  environment, then all tests
# make demo  environment, a drawn competition, three models, ensemble, submission: all inside demo/
# make report  environment, then one page about what is finished in demo/: demo/report.html
# make gpu-check  environment, then whether everything works on this machine's GPU, and how fast

PYTHON ?= python3
BIN := .venv/bin
DEMO := $(CURDIR)/demo
DEMO_ROWS := tf_efficientnet_lite1_crop_96 tf_efficientnet_lite0_squish_96 \
             tf_efficientnet_lite0_pad_96

.PHONY: env test demo report gpu-check $(DEMO_ROWS)

env: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	@echo "installing into .venv: 7.4 GB, some minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# One thread for each of the two workers: the second's would be taken from the other worker.
test: export OMP_NUM_THREADS := 1
test: env
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

demo report: export PADDY_WORK := $(DEMO)
demo report: export PADDY_DATA := $(DEMO)/data
demo: env
	$(BIN)/python -m src.demo $(DEMO)/data
	$(MAKE) --no-print-directory --jobs 3 $(DEMO_ROWS)
	$(BIN)/python -m src.ensemble
	@echo
	@echo "models, cards and predictions   demo/models/"
	@echo "executed notebooks              demo/notebooks/runs/"
	@echo "submission and its origin       demo/submissions/"
	@echo "other commands on the demo      export PADDY_WORK=$(DEMO) PADDY_DATA=$(DEMO)/data"

# All rows side by side, each on one thread: a model this small keeps no second core busy.
$(DEMO_ROWS): export OMP_NUM_THREADS := 1
$(DEMO_ROWS):
	$(BIN)/python -m src.run $@

report: env
	$(BIN)/python -m src.report

gpu-check: env
	$(BIN)/python benchmarks/gpu_check.py
