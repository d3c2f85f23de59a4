#!/bin/sh
# Usage: venv.sh PYTHON FOLDER. Creates a virtual environment, or says what is missing.
set -eu
python=$1
folder=$2

if ! command -v "$python" >/dev/null; then
    echo "$python was not found. Name the Python that you have: make course PYTHON=python3.12" >&2
    exit 1
fi
# torch has wheels for these versions; a later one needs new constraints.
if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'; then
    echo "The course needs Python 3.10 to 3.14; $python is $("$python" --version 2>&1)." >&2
    echo "Name another Python: make course PYTHON=python3.12" >&2
    exit 1
fi

# Debian and Ubuntu have the part of Python that creates virtual environments in its own package.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package="python$version-venv"
    if ! command -v apt-get >/dev/null; then
        echo "$python cannot create virtual environments: ensurepip or venv is missing." >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
    echo "The venv module of $python is missing; installing Debian's $package${sudo:+ (sudo may ask for your password)}."
    $sudo apt-get update -qq && $sudo apt-get install -y -qq "$package" || {
        echo "The installation failed. Please run: sudo apt install $package" >&2
        exit 1
    }
fi

echo "Creating $folder with $("$python" --version)."
"$python" -m venv "$folder" || { rm -rf "$folder"; exit 1; }
