# make demo   encode three photographs, decode them again, compare with JPEG, WebP and AVIF
# make test   lint, then every test
# Both make the virtual environment first, if it is missing or out of date.

PYTHON ?= python3.11
VENV   ?= .venv
RUN    := $(VENV)/bin
READY  := $(VENV)/.ready
FILES  ?=

.PHONY: demo test lint clean

demo: $(READY)
	$(RUN)/python demos/photographs.py $(FILES)

test: lint
	$(RUN)/python -m pytest

lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/mypy

$(READY): pyproject.toml setup.py constraints.txt $(wildcard enfold/*/*.c)
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audio,demo,bench,test,lint]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info enfold/entropy/*.so enfold/layers/*.so
