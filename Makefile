# make course      open the course in JupyterLab (PORT and IP can be set)
# make test        what CI runs: ruff, the unit tests, every notebook with its outputs and figures
# make browser     every chapter in JupyterLab, each widget in VS Code's manager too: a job of its own
# make notebooks   run every notebook anew and save it; says what changed
# make figures     draw figures/ anew from the notebooks; says what changed
# make site        write the course as static pages, to read with no Python: site/
# make mutants     plant small faults one by one; tests and chapters must notice (ONLY=words: some)
# make clean       remove the virtual environment

PYTHON ?= python3
IP ?= 127.0.0.1
PORT ?= 8888
JOBS ?= auto
VENV := .venv
BIN := $(VENV)/bin

.PHONY: course test browser notebooks figures site mutants clean
.DEFAULT_GOAL := course

$(VENV)/pyvenv.cfg:
	@sh tools/venv.sh "$(PYTHON)" "$(VENV)"

# A stamp a set of packages: made anew when the versions change, else the next call is quick.
$(VENV)/.installed-%: $(VENV)/pyvenv.cfg pyproject.toml .constraints.txt
	@$(BIN)/python -c '' || { echo "$(VENV) does not work any more (moved, or its Python is gone): make clean, then again."; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@echo "Installing minimamba[$*] into $(VENV); the first time this takes some minutes."
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[$*]' --constraint .constraints.txt
	@touch $@

course: $(VENV)/.installed-course
	@sh tools/course.sh "$(BIN)" "$(IP)" "$(PORT)"

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/pytest -n $(JOBS) --dist loadfile -m 'not apart' tests
	rm -rf $(VENV)/figures && mkdir $(VENV)/figures
	MINIMAMBA_SOLVED="$(CURDIR)/$(VENV)/solved-by-nobody" MINIMAMBA_FIGURES="$(CURDIR)/$(VENV)/figures" \
		$(BIN)/pytest -n $(JOBS) --dist loadscope --nbval --nbval-current-env \
		--nbval-sanitize-with tests/nbval.cfg notebooks
	$(BIN)/python tools/comparison.py $(VENV)/figures

browser: $(VENV)/.installed-dev
	MINIMAMBA_NEEDS_BROWSER=1 $(BIN)/pytest -n $(JOBS) -m apart tests/test_browser.py

notebooks: $(VENV)/.installed-dev
	@$(BIN)/python tools/notebooks.py save

figures: $(VENV)/.installed-dev
	@$(BIN)/python tools/notebooks.py figures

site: $(VENV)/.installed-dev
	@$(BIN)/python tools/site/build.py site

mutants: $(VENV)/.installed-dev
	@$(BIN)/python tools/mutants.py $(ONLY)

clean:
	rm -rf $(VENV)
