#!/usr/bin/env bash
# The tests of the loss with the oldest and the newest of what it runs on: tools/matrix.sh [DIR]
#
# Makes an environment for each row in DIR (default .matrix; several GB each), runs the tests in it, removes
# it where they pass, and says at the end which rows passed.  A Python that is not found is said.  It counts
# as a failure, but for the one that is not promised yet.  UV names the uv that installs (default: the one of .venv).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.matrix}
uv=${UV:-.venv/bin/uv}
test_packages="hypothesis pytest pytest-xdist setuptools>=77"
# Python (? where it may be missing), PyTorch with its Triton, further packages.  Without NumPy, POT and
# SciPy there are no references.
rows="3.10|torch==2.6.*|numpy<2 POT scipy
3.10|torch==2.6.*|none
3.13|torch==2.15.*|numpy POT scipy
3.14?|torch==2.15.*|numpy POT scipy"

mkdir -p "$folder"
failed=0
summary=
row_number=0
while IFS="|" read -r version torch packages; do
    row_number=$((row_number + 1))
    row="Python ${version%\?}, $torch, $packages"
    if ! python=$(tools/find_python.sh "${version%\?}"); then
        summary+="MISSING $row"$'\n'
        [[ $version == *\? ]] || failed=1
        continue
    fi
    venv=$folder/$row_number
    tests="tests/ops"
    pick=""
    if [ "$packages" = none ]; then
        packages=""
        tests="tests/ops/test_targets.py tests/ops/test_regularizers.py tests/ops/test_second_derivatives.py"
        pick="not triton" # its interpreter computes by NumPy
    fi
    "$uv" venv --quiet --clear --python "$python" "$venv"
    # shellcheck disable=SC2086  # lists of words
    "$uv" pip install --quiet --python "$venv/bin/python" "$torch" $test_packages $packages
    "$uv" pip install --quiet --python "$venv/bin/python" --no-build-isolation --no-deps --editable .
    # shellcheck disable=SC2086
    if OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -q -n 2 -p no:cacheprovider $tests -k "$pick" -m "not gpu and not slow"; then
        summary+="passed  $row"$'\n'
        rm -rf "$venv"
    else
        summary+="FAILED  $row"$'\n'
        failed=1
    fi
done <<<"$rows"
printf '%s' "$summary"
exit "$failed"
