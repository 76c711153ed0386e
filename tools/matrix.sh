#!/usr/bin/env bash
# The tests of the loss with the oldest and the newest of what it runs on: tools/matrix.sh [DIR]
#
# Makes an environment for each row in DIR (default .matrix; several GB each), runs `make test-ops` in it, and
# says at the end which rows passed.  A Python that is not found is said and counts as a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.matrix}
test_packages="hypothesis pytest pytest-xdist"
# Python, PyTorch with its Triton, further packages.  Without NumPy, POT and SciPy there are no references.
rows="3.10|torch==2.6.*|numpy<2 POT scipy
3.10|torch==2.6.*|none
3.13|torch==2.15.*|numpy POT scipy
3.14|torch==2.15.*|numpy POT scipy"

find_python() {
    local found
    for found in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$found"
            return
        fi
    done
    return 1
}

mkdir -p "$folder"
failed=0
summary=
row_number=0
while IFS="|" read -r version torch packages; do
    row_number=$((row_number + 1))
    row="Python $version, $torch, $packages"
    if ! python=$(find_python "$version"); then
        summary+="MISSING $row"$'\n'
        failed=1
        continue
    fi
    venv=$folder/$row_number
    "$python" -m venv --clear "$venv"
    tests="tests/ops"
    pick=""
    if [ "$packages" = none ]; then
        packages=""
        tests="tests/ops/test_targets.py tests/ops/test_regularizers.py tests/ops/test_second_derivatives.py"
        pick="not triton" # its interpreter computes by NumPy
    fi
    # shellcheck disable=SC2086  # lists of words
    "$venv/bin/python" -m pip install --quiet "$torch" setuptools $test_packages $packages
    "$venv/bin/python" -m pip install --quiet --no-build-isolation --no-deps --editable .
    # shellcheck disable=SC2086
    if OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -q -n 2 -p no:cacheprovider $tests -k "$pick" -m "not gpu and not slow"; then
        summary+="passed  $row"$'\n'
    else
        summary+="FAILED  $row"$'\n'
        failed=1
    fi
done <<<"$rows"
printf '%s' "$summary"
exit "$failed"
