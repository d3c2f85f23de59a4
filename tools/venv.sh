#!/bin/sh
# Usage: venv.sh PYTHON FOLDER. Makes a virtual environment, or says what is missing.
set -eu
python=$1
folder=$2

if ! command -v "$python" >/dev/null; then
    echo "There is no $python here. Name the one you have: make course PYTHON=python3.12" >&2
    exit 1
fi
# torch has wheels for these; a later Python waits for the constraints to move.
if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'; then
    echo "The course needs Python 3.10 to 3.14; $python is $("$python" --version 2>&1)." >&2
    echo "Name another one: make course PYTHON=python3.12" >&2
    exit 1
fi

# Debian and Ubuntu keep the part of Python that makes virtual environments in a package apart.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package="python$version-venv"
    if ! command -v apt-get >/dev/null; then
        echo "$python cannot make virtual environments: it lacks ensurepip or venv." >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
    echo "$python lacks its venv module; installing Debian's $package${sudo:+ (sudo may ask for your password)}."
    $sudo apt-get update -qq && $sudo apt-get install -y -qq "$package" || {
        echo "Could not install it. Please run: sudo apt install $package" >&2
        exit 1
    }
fi

echo "Creating $folder with $("$python" --version)."
"$python" -m venv "$folder" || { rm -rf "$folder"; exit 1; }
