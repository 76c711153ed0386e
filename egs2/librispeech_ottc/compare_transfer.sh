#!/usr/bin/env bash
# The comparison of docs/unbalanced.md: what a language model that teaches does, and what its controls do.
#
#   ./compare_transfer.sh synthetic                                   synthetic sentences, CTC and OTTC
#   ./compare_transfer.sh digits --librispeech DIR                    a corpus of one's own
#   criteria=ottc variants="transfer_adapter_only transfer" ./compare_transfer.sh digits --librispeech DIR
#
# The variables name some systems alone; batches=N shortens the epochs of all trainings, and train_args holds
# more options of all of them.
# Each criterion's systems go on from one model of its own, with three seeds and the same steps. The folders
# are data_transfer_NAME and exp_transfer_NAME. What follows NAME are options of run.sh. What is done is skipped.
set -euo pipefail
cd "$(dirname "$0")"
name=${1:?the name of the comparison, as synthetic}
shift
criteria=${criteria:-ctc ottc}
variants=${variants:-transfer_adapter_only transfer transfer_plan transfer_balanced transfer_uniform transfer_random_teacher}
# shellcheck disable=SC1091 # a file beside this folder
. ../TEMPLATE/path.sh

exp=exp_transfer_$name
options=(--datadir "data_transfer_$name" "$@")
if [ "$name" = synthetic ]; then
    # Little speech, and text that nearly all is in no speech.
    mkdir -p downloads
    [ -f downloads/sentences.txt ] || python -m espnet_ottc.bin.make_sentences --out downloads/sentences.txt
    options+=(--synthetic_hours 1 --eval_sets test-clean --teacher_text downloads/sentences.txt --teacher_steps 1200)
fi
with() { # WORDS: each criterion's systems
    for criterion in $criteria; do
        for word in "$@"; do echo "$criterion$word"; done
    done
}
arguments() { # EPOCHS: options of trainings of so many epochs
    echo "${train_args:-} ${batches:+--num_iters_per_epoch $batches --scheduler_conf total_steps=$(($1 * batches))}"
}
taught=() # from the first step: what the overlays wait for is there; the adapter feeds back, as in the paper
untaught=("")
for variant in $variants; do
    if [ "$variant" = transfer_adapter_only ]; then untaught+=("_$variant"); else taught+=("_$variant"); fi
done
mapfile -t starts < <(with "")
mapfile -t all < <(with "${untaught[@]}" "${taught[@]}")

./run.sh "${options[@]}" --conf conf/transfer --expdir "${exp}_start" --systems "${starts[@]}" --stop_stage 7 \
    --train_args "$(arguments 12)"
going=("${options[@]}" --conf conf/transfer_continued --expdir "$exp" --seed 1 2 3 --decoders greedy)
for criterion in $criteria; do
    start="$(arguments 2) --init_param ${exp}_start/$criterion/seed1/valid.loss.ave.pth"
    ./run.sh "${going[@]}" --train_args "$start" --stop_stage 7 --systems "${untaught[@]/#/$criterion}"
    if [ ${#taught[@]} -gt 0 ]; then
        ./run.sh "${going[@]}" --train_args "$start --model_conf transfer_conf.after_epoch=0 --postencoder_conf feed_back=true" --stop_stage 7 \
            --systems "${taught[@]/#/$criterion}"
    fi
done
./run.sh "${going[@]}" --systems "${all[@]}" --stage 8
