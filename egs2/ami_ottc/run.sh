#!/usr/bin/env bash
# OTTC against CTC on AMI's headset recordings, or on synthetic meetings where no AMI is given.
#
#   ./run.sh                                                  synthetic meetings, conf/mini, two cores
#   ./run.sh --ami DIR --nbpe 500 --datadir data_ami --expdir exp_ami
#                                                             DIR has wav_db/ and ami_public_manual_1.6.2/
#   ./run.sh --systems ctc ottc ottc_joint --seed 1 2 3       several systems and seeds
set -euo pipefail
cd "$(dirname "$0")"
exec ../TEMPLATE/ottc.sh --corpus ami --systems ctc ottc "$@"
