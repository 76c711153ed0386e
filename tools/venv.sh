#!/usr/bin/env bash
# Make or refresh a virtual environment: tools/venv.sh [--older] DIR
#
# Pinned versions, and the package itself installed for editing with its C kernel.  Without --older: Python
# 3.12 where it is found, and requirements.lock, whose ESPnet is the newest that this Python takes.  With it:
# Python 3.10 where it is found, and requirements-older.lock, whose ESPnet and PyTorch are the oldest.
# A second call with nothing changed does nothing.  PYTHON names another interpreter (3.10 to 3.13).
set -euo pipefail
cd "$(dirname "$0")/.."
lock=requirements.lock
versions="3.12 3.13 3.11 3.10"
if [ "${1:-}" = --older ]; then
    shift
    lock=requirements-older.lock
    versions="3.10 3.11 3.12 3.13"
fi
venv=${1:?usage: tools/venv.sh [--older] DIR}

# shellcheck disable=SC2086  # a list of words
if ! python=${PYTHON:-$(tools/find_python.sh $versions)}; then
    echo "tools/venv.sh: no Python 3.10 to 3.13 found; install one, or name it: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'; then
    echo "tools/venv.sh: $python is no Python 3.10 to 3.13" >&2
    exit 1
fi

# What the environment was made from; written last, so that half an installation never counts.
key=$({ "$python" -VV && cat pyproject.toml setup.py "$lock" espnet_ottc/ops/kernels/*.c espnet_ottc/ops/kernels/*.h; } | sha256sum | cut -c1-64)
if [ "$(cat "$venv/.made-from" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
echo "Setting up $venv with $("$python" --version) (a few minutes, several GB the first time)"
rm -f "$venv/.made-from"
if [ "$("$venv/bin/python" -VV 2>/dev/null)" != "$("$python" -VV)" ]; then
    "$python" -m venv --clear "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$lock"
# One that an earlier version left would be loaded first.
rm -f espnet_ottc/ops/kernels/_*_cpu*.so
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
if ! ls espnet_ottc/ops/kernels/_{ottc,chains,band}_cpu*.so >/dev/null 2>&1; then
    echo "tools/venv.sh: a C kernel was not built (no C compiler?); plain PyTorch will do its work" >&2
fi
echo "$key" >"$venv/.made-from"
