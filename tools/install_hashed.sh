#!/bin/sh
# What the workflows run before make: every package comes from PyPI with a hash in .hashes.txt, and then
# the course itself without an index, so that nothing else can come in.
set -eu
cd "$(dirname "$0")/.."
python -m venv .venv
.venv/bin/python -m pip install --require-hashes -r .hashes.txt
.venv/bin/python -m pip install --no-index --no-build-isolation -e '.[dev]' -c .constraints.txt
touch .venv/.installed-dev
