#!/bin/sh
# Make a virtual environment: by venv, else by virtualenv, else say what to install.
set -eu
python=$1
venv=$2
if ! command -v "$python" >/dev/null 2>&1; then
    echo "promptsync needs Python 3.11 or later; on Debian or Ubuntu: apt-get install python3 python3-venv" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "promptsync needs Python 3.11 or later, and $python is $("$python" --version 2>&1). Name another: make PYTHON=python3.12 ..." >&2
    exit 1
fi
if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    exec "$python" -m venv "$venv"
fi
if "$python" -c 'import virtualenv' 2>/dev/null; then
    exec "$python" -m virtualenv --quiet "$venv"
fi
echo "this Python cannot make virtual environments: apt-get install python3-venv (or: pip install virtualenv)" >&2
exit 1
