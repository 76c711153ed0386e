# shellcheck shell=bash
# Where LibriSpeech is: the directory that holds train-clean-100, dev-clean, ...  --librispeech wins.
export LIBRISPEECH=${LIBRISPEECH:-}
