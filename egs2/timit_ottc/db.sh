# shellcheck shell=bash
# Where TIMIT is: the directory that holds TRAIN/ and TEST/, or data/ with them.  --timit wins.
export TIMIT=${TIMIT:-}
