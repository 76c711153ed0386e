# shellcheck shell=bash
# Finds Python: that of the active environment, or else the .venv of a repository with this folder; and its
# espnet_ottc, where that is not installed.
root=$(cd ../.. && pwd)
has() { python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2>/dev/null; }
if ! has espnet2 && [ -x "$root/.venv/bin/python" ]; then
    export PATH="$root/.venv/bin:$PATH"
fi
if ! has espnet2; then
    how="activate an environment with it: pip install 'espnet-ottc[recipe]', or '.[recipe]' in a clone"
    [ ! -f "$root/tools/venv.sh" ] || how="run 'make venv' in $root, or activate an environment that has it"
    echo "error: no Python with ESPnet: $how" >&2
    exit 1
fi
if ! has espnet_ottc; then
    if [ ! -d "$root/espnet_ottc" ]; then
        echo "error: no espnet_ottc: pip install 'espnet-ottc[recipe]', or '.[recipe]' in a clone" >&2
        exit 1
    fi
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONIOENCODING=UTF-8
