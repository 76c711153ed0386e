# shellcheck shell=bash
# Where the corpora are.  The option (--ami, --librispeech, --timit, --data) wins.
export AMI=${AMI:-}                 # the directory that holds wav_db/ and ami_public_manual_1.6.2/
export LIBRISPEECH=${LIBRISPEECH:-} # the directory that holds train-clean-100, dev-clean, ...
export TIMIT=${TIMIT:-}             # the directory that holds TRAIN/ and TEST/, or data/ with them
export OTTC_DATA=${OTTC_DATA:-}     # data of your own: a Kaldi directory, Lhotse cuts, or a folder of audio with texts
