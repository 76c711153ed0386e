#!/usr/bin/env bash
# OTTC against CTC on TIMIT's phones, or on synthetic sentences in its layout where no TIMIT is given.
#
#   ./run.sh                                                  synthetic sentences, conf/mini, two cores
#   ./run.sh --timit DIR --datadir data_timit --expdir exp_timit
#                                                             DIR has TRAIN/ and TEST/, or data/ with them
#   ./run.sh --systems ctc ottc ottc_joint --seed 1 2 3       several systems and seeds
set -euo pipefail
cd "$(dirname "$0")"
exec ../TEMPLATE/ottc.sh --corpus timit --systems ctc ottc "$@"
