# shellcheck shell=bash
# Finds Python: that of the active environment, or else the repository's .venv; and this package, where it
# is not installed.
root=$(cd ../.. && pwd)
has() { python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2>/dev/null; }
if ! has espnet2 && [ -x "$root/.venv/bin/python" ]; then
    export PATH="$root/.venv/bin:$PATH"
fi
if ! has espnet2; then
    echo "error: no Python with ESPnet: run 'make venv' in $root, or activate an environment that has it" >&2
    exit 1
fi
if ! has espnet_ottc; then
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONIOENCODING=UTF-8
