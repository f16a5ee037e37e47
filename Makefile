# Two commands do everything on a fresh machine: `make book` and `make test`. Nothing is installed by hand.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --jobs=2 --output-sync=target --no-print-directory
SHELL := /bin/bash

PYTHON ?= python3
BIN := .venv/bin
# One thread a chapter, two chapters at a time.
export OMP_NUM_THREADS = 1
export JUPYTER_PLATFORM_DIRS = 1

SOURCES := $(wildcard notebooks/[0-9][0-9]_*.py)
PAIRS := $(SOURCES:.py=.ipynb)
CHAPTERS := $(PAIRS:notebooks/%=book/chapters/%)
TABLES := $(wildcard data/sweeps/*.parquet data/bench/*.csv)
PAGES := $(filter-out book/claims.md book/provenance.md,$(wildcard book/*.md)) $(wildcard book/*.bib book/_static/*) \
         $(wildcard .ci/*.py .ci/templates/*) _config.yml _toc.yml
SITE := book/_build/html/index.html

.PHONY: help env pairs chapters book pdf lab test new links publish clean
help:  ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

env: .venv/ready  ## make the environment .venv (shared third-party packages, this checkout editable)
pairs: $(PAIRS)  ## write notebooks/NN.ipynb from notebooks/NN.py
chapters: $(CHAPTERS)  ## execute the chapters that changed, two at a time
book: $(SITE)  ## execute the chapters and build the site at book/_build/html/index.html
	@echo "open $(SITE)"

lab: $(PAIRS)  ## open JupyterLab on the chapters
	+$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks

.venv/ready: pyproject.toml .ci/env.py
	$(PYTHON) .ci/env.py

# Never --sync: it trusts file times and loses edits. --update keeps the cell ids.
notebooks/%.ipynb: notebooks/%.py | .venv/ready
	$(BIN)/jupytext --quiet --update --to ipynb $< && touch $@

# A chapter is executed again when its text, a module it imports, the claims or a committed table change.
book/chapters/%.ipynb: notebooks/%.ipynb book/claims.yml $(TABLES) | .venv/ready
	@mkdir -p $(@D)
	$(BIN)/papermill --kernel python3 --cwd notebooks --no-progress-bar $< $@

book/chapters/depends.mk: $(SOURCES) $(shell find latentlib -name '*.py') .ci/depends.py
	@mkdir -p $(@D)
	$(PYTHON) .ci/depends.py $(SOURCES) > $@
-include book/chapters/depends.mk

# The generated pages (claims, provenance) and the site.
$(SITE): $(CHAPTERS) $(PAIRS) $(PAGES) $(shell find latentlib -name '*.py')
	$(BIN)/python -m latentlib harvest pages
	$(BIN)/jupyter-book build . --path-output book --quiet -n -W --keep-going
	@touch $@

pdf: $(SITE)  ## print the whole book to book/_build/latent-phases.pdf
	$(BIN)/python .ci/pdf.py

test: $(SITE)  ## run all tests, on the code, the executed chapters and the built site
	$(BIN)/python -m pytest -n 2 --dist loadfile tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval-lax -p no:cacheprovider book/chapters

new: .venv/ready  ## lay a chapter that builds: make new CHAPTER=35_name
	@$(BIN)/python .ci/new_chapter.py '$(CHAPTER)'

links:  ## ask every external link of the book whether it still answers
	$(PYTHON) .ci/links.py README.md CONTRIBUTING.md $(wildcard book/*.md) book/references.bib $(SOURCES) --report book/_build/links.md

publish: $(SITE)  ## push the copies for Colab to the branch gh-pages
	$(PYTHON) .ci/colab.py

clean:  ## remove what was built (the shared packages stay)
	rm -rf book/_build book/chapters book/claims.md book/claims.csv book/provenance.md .venv latentlib.egg-info
