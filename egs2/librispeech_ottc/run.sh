#!/usr/bin/env bash
# OTTC against CTC on LibriSpeech, or on synthetic speech where no LibriSpeech is given.
#
#   ./run.sh                                                  synthetic speech, conf/mini, two cores
#   ./run.sh --systems ctc ottc ottc_joint --seed 1 2 3       several systems and seeds
#   ./run.sh --librispeech DIR --train_set train-clean-100 --datadir data_100 --conf conf --expdir exp_100 \
#       --systems ctc_xlsr300m ottc_xlsr300m --ngpu 1         data and experiments of their own: docs/howto/recipes.md
set -euo pipefail
cd "$(dirname "$0")"
exec ../TEMPLATE/ottc.sh --corpus librispeech --systems ctc ottc "$@"
