#!/usr/bin/env bash
# OTTC against CTC on LibriSpeech, or on synthetic speech where no LibriSpeech is given.
#
#   ./run.sh                                                  synthetic speech, conf/mini, two cores
#   ./run.sh --librispeech DIR --train_set train_960 --conf conf --systems ctc_conformer ottc_conformer --ngpu 4
#   ./run.sh --librispeech DIR --train_set train-clean-100 --conf conf --systems ctc_xlsr300m ottc_xlsr300m --ngpu 1
#   ./run.sh --stage 8 --seed 1 2 3                           some stages, several seeds
set -euo pipefail
cd "$(dirname "$0")"
exec ../TEMPLATE/ottc.sh --corpus librispeech --systems ctc ottc "$@"
