#!/usr/bin/env bash
# Print the first interpreter that is found of some versions of Python: tools/find_python.sh VERSION ...
#
# It can make virtual environments.  Looks on PATH and where pyenv keeps its own.  Exit status 1 where
# none is found.
set -euo pipefail

for version in "$@"; do
    for candidate in "python$version" python3 "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
        # Asked, not believed: a shim of pyenv may stand for no Python, and Debian's may lack ensurepip.
        if "$candidate" -c "import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            command -v "$candidate"
            exit
        fi
    done
done
exit 1
