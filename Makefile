# Every command of the project; `make` alone lists them. only=FILE narrows test and record.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV ?= .venv
RUN = $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help lab test site bench gpu export record portable long clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 11

lab: $(VENV)/ready ## set up, then read and run the book in JupyterLab
	@$(RUN) -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) nbs/index.ipynb

test: $(VENV)/ready ## set up, then check everything: export, style, every stored output, the site
	@$(RUN) -m pytest $(only)

site: $(VENV)/ready ## render the book into _site/ (serve=1: and serve it on this machine)
	@$(RUN) tools/build_site.py $(if $(filter 1,$(serve)),--serve)

bench: $(VENV)/ready ## measure the speed of the layers against PyTorch
	@for bench in benchmarks/bench_*.py; do $(RUN) $$bench || exit 1; done

gpu: ## run and compare the GPU cells with the packages that PYTHON has
	@PYTHONPATH="$(CURDIR)" $(PYTHON) -m pytest -o addopts=--nbval -m gpu nbs

export: $(VENV)/ready ## write the package dlbook/ and the coverage page from the notebooks, and clean them
	@$(RUN) tools/coverage_page.py && $(VENV)/bin/nbdev_export && $(VENV)/bin/nbdev_clean

record: $(VENV)/ready ## run the notebooks and store the outputs that changed
	@$(RUN) tools/record.py $(only)

portable: $(VENV)/ready ## compare the outputs under other processors' arithmetic and thread counts
	@$(RUN) tools/portable.py

long: $(VENV)/ready ## run a long experiment and keep its results: make long NAME=module.function
	@$(RUN) tools/long_run.py $(NAME)

clean: ## remove what was built, but not the environment
	@rm -rf _site build dist *.egg-info .pytest_cache .ruff_cache

# The file `ready` is written last; a change of what is wanted installs again.
$(VENV)/ready: constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "dlbook: there is no $(PYTHON); name one with make PYTHON=..."; exit 1; }
	@$(PYTHON) tools/setup_env.py $(VENV) $(CONSTRAINTS)
