#!/bin/sh
# What the workflows run before make: every package comes from PyPI with a hash in .hashes.txt, and then
# the course itself without an index, so that nothing else can come in.
# Wheels alone: to build a package, pip would fetch tools that have no hash.
set -eu
cd "$(dirname "$0")/.."
python -m venv .venv
.venv/bin/python -m pip install --require-hashes --only-binary :all: -r .hashes.txt
.venv/bin/python -m pip install --no-index --no-build-isolation -e '.[dev]' -c .constraints.txt
touch .venv/.installed-dev
