# shellcheck shell=bash disable=SC1091
# Finds Python and this package; add here what this machine needs beside them.
. ../TEMPLATE/path.sh
