# shellcheck shell=bash
# Where AMI is: the directory that holds wav_db/ and ami_public_manual_1.6.2/.  --ami wins.
export AMI=${AMI:-}
