# make course      install, and open your copy of the course in JupyterLab (PORT and IP can be set)
# make update      get the latest version of the course; what you wrote in your copy stays
# make reset       start one chapter of your copy afresh: make reset CHAPTER=05
# make test        what CI runs: ruff, the unit tests, and every notebook with its outputs and figures
# make browser     run every chapter and its widgets in JupyterLab, and the widgets in VS Code's manager
# make notebooks   run every notebook again and save it; prints what changed
# make figures     draw figures/ again from the notebooks; prints what changed
# make site        write the course and the API reference as static pages: site/index.html
# make mutants     plant small faults, one at a time; the tests must detect each (ONLY=word: some of them)
# make clean       remove the virtual environment

PYTHON ?= python3
IP ?= 127.0.0.1
PORT ?= 8888
JOBS ?= auto
# Taken as they are: neither make nor the shell runs what is in them.
override PYTHON := $(value PYTHON)
override IP := $(value IP)
override PORT := $(value PORT)
override JOBS := $(value JOBS)
override ONLY := $(value ONLY)
override CHAPTER := $(value CHAPTER)
export PYTHON IP PORT JOBS ONLY CHAPTER

VENV := .venv
BIN := $(VENV)/bin
# Each chapter is tested with one thread: two with two threads each, on two cores, would wait for
# each other. The longest begin first, so that no process runs one while the others have nothing
# left to run.
LONGEST := $(foreach chapter,10 05 04 11 03,$(wildcard notebooks/$(chapter)_*.ipynb))
CHAPTERS := $(LONGEST) $(filter-out $(LONGEST),$(sort $(wildcard notebooks/*.ipynb)))

.PHONY: course update copies reset test browser notebooks figures site mutants clean
.DEFAULT_GOAL := course

$(VENV)/pyvenv.cfg:
	@sh tools/venv.sh "$$PYTHON" "$(VENV)"

# One stamp per extra of pyproject.toml; it is out of date when the versions have changed.
$(VENV)/.installed-%: $(VENV)/pyvenv.cfg pyproject.toml .constraints.txt
	@$(BIN)/python -c '' || { echo "$(VENV) is broken: it was moved, or its Python was removed. Run make clean and try again."; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@echo "Installing minimamba[$*] into $(VENV): a few minutes the first time, without a word from pip."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]' --constraint .constraints.txt
	@touch $@

course: copies
	@sh tools/course.sh "$(BIN)" "$$IP" "$$PORT"

update:
	git pull --ff-only
	@$(MAKE) --no-print-directory copies  # by the Makefile that has just come

copies: $(VENV)/.installed-course
	@$(BIN)/python tools/copies.py update

reset: $(VENV)/.installed-course
	@$(BIN)/python tools/copies.py reset "$$CHAPTER"

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/pytest -n "$$JOBS" --dist worksteal -m 'not slow' tests
	rm -rf $(VENV)/figures && mkdir $(VENV)/figures
	OMP_NUM_THREADS=1 MINIMAMBA_SOLVED="$(CURDIR)/$(VENV)/no-exercise-solved" MINIMAMBA_FIGURES="$(CURDIR)/$(VENV)/figures" \
		PYTHONPATH="$(CURDIR)/tests/fast_interpreter$${PYTHONPATH:+:$$PYTHONPATH}" \
		$(BIN)/pytest -n "$$JOBS" --dist loadscope --no-loadscope-reorder --nbval --nbval-current-env \
		--nbval-sanitize-with tests/nbval.cfg $(CHAPTERS)
	$(BIN)/python tools/comparison.py $(VENV)/figures

browser: $(VENV)/.installed-dev
	MINIMAMBA_NEEDS_BROWSER=1 $(BIN)/pytest -n "$$JOBS" -m slow tests/test_browser.py

notebooks: $(VENV)/.installed-dev
	@$(BIN)/python tools/notebooks.py save

figures: $(VENV)/.installed-dev
	@$(BIN)/python tools/notebooks.py figures

site: $(VENV)/.installed-dev
	@$(BIN)/python tools/site/build.py site

mutants: $(VENV)/.installed-dev
	@$(BIN)/python tools/mutants.py $$ONLY

clean:
	rm -rf $(VENV)
