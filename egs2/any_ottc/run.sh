#!/usr/bin/env bash
# OTTC against CTC on data of your own, or on a synthetic folder where none are given.
#
#   ./run.sh                              a synthetic folder, conf/mini, two cores
#   ./run.sh --data DIR --datadir data_mine --expdir exp_mine
#                                         DIR is a Kaldi directory, a folder of audio with texts, or Lhotse cuts
#   ./run.sh --systems ctc ottc ottc_joint --seed 1 2 3       several systems and seeds
set -euo pipefail
cd "$(dirname "$0")"
exec ../TEMPLATE/ottc.sh --corpus any --systems ctc ottc "$@"
