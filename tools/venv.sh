#!/usr/bin/env bash
# Make or refresh the virtual environment: tools/venv.sh DIR
#
# Pinned versions (requirements.lock), the package itself installed for editing with its C kernel.  A
# second call with nothing changed does nothing.  PYTHON names the interpreter (3.10 to 3.13).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:?usage: tools/venv.sh DIR}

supported='import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'
# pyenv keeps its own aside.
candidates=${PYTHON:-python3.11 python3.12 python3.13 python3.10 python3 \
    ${PYENV_ROOT:-$HOME/.pyenv}/versions/3.1[0-3].*/bin/python}
python=
for candidate in $candidates; do
    if "$candidate" -c "$supported" 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "tools/venv.sh: no Python 3.10 to 3.13 found (tried: $candidates);" \
        "install one, or name it: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi

# What the environment was made from; written last, so that half an installation never counts.
key=$({ "$python" -VV && cat pyproject.toml setup.py requirements.lock espnet_ottc/ops/kernels/*.c espnet_ottc/ops/kernels/*.h; } | sha256sum | cut -c1-64)
if [ "$(cat "$venv/.made-from" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
echo "Setting up $venv with $("$python" --version) (a few minutes, several GB the first time)"
rm -f "$venv/.made-from"
if [ "$("$venv/bin/python" -VV 2>/dev/null)" != "$("$python" -VV)" ]; then
    "$python" -m venv --clear "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.lock
# One that an earlier version left would be loaded first.
rm -f espnet_ottc/ops/kernels/_*_cpu*.so
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
if ! ls espnet_ottc/ops/kernels/_{ottc,chains,band}_cpu*.so >/dev/null 2>&1; then
    echo "tools/venv.sh: a C kernel was not built (no C compiler?); plain PyTorch will do its work" >&2
fi
echo "$key" >"$venv/.made-from"
