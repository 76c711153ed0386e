# shellcheck shell=bash
# Where the corpora are.  The option of the same name (--ami, --librispeech, --timit) wins.
export AMI=${AMI:-}                 # the directory that holds wav_db/ and ami_public_manual_1.6.2/
export LIBRISPEECH=${LIBRISPEECH:-} # the directory that holds train-clean-100, dev-clean, ...
export TIMIT=${TIMIT:-}             # the directory that holds TRAIN/ and TEST/, or data/ with them
