#!/usr/bin/env bash
# The stages of an OTTC recipe.  Each egs2/*_ottc/run.sh calls it from its own folder, which has path.sh,
# cmd.sh, db.sh and conf/.  `./run.sh --help` lists the options.  A stage that is done is skipped; one whose
# inputs have changed is done again; what failed or was interrupted goes on with the same command.
# shellcheck disable=SC1091,SC2154 # files of the recipe's folder; variables that the plan sets
set -euo pipefail
. ./db.sh
. ./path.sh
. ./cmd.sh

# All options are checked here, before anything runs: sets $stage, $corpus, $parts, $sets, ...
plan=$(python -m espnet_ottc.recipe.plan "$@")
eval "$plan"

wanted() { # NUMBER TITLE: whether this stage is among those asked for
    [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] && echo "== stage $1: $2 =="
}
once() { # MARK TITLE OPTIONS -- COMMAND: run the command unless it was done with the same inputs
    python -m espnet_ottc.recipe.stage_mark --mark "$datadir/.marks/$1.json" --title "$2" --ignore=--nj "${@:3}"
}
step() { # NAME ARGUMENTS: a command of this package that keeps its own marks
    python -m "espnet_ottc.$1" "${@:2}"
}

after_corpus=()
if [ -n "$synthesise" ]; then
    after_corpus=(--after "$datadir/.marks/corpus.json=stage 0 (corpus)")
fi
if wanted 0 "corpus"; then
    if [ -n "$synthesise" ]; then
        echo "!! NO ${layout^^} WAS GIVEN (--$layout DIR, or ${layout^^} in the environment or db.sh)."
        echo "!! A small corpus of SYNTHETIC speech in its layout takes its place: $corpus"
        once corpus "stage 0: synthetic speech" --output "$corpus" -- \
            python -m espnet_ottc.bin.make_synthetic --layout "$layout" --out "$corpus" "${synthetic[@]}" --nj "$nj"
    else
        echo "stage 0: $corpus with ${parts[*]}"
        [ -z "$absent" ] || echo "stage 0: $corpus has no $absent, and they are done without"
    fi
fi
manifests_of() { # PART ...: sets $manifests to the files of some parts
    manifests=()
    for part; do
        manifests+=("$datadir/manifests/${prefix}_"{recordings,supervisions}"_$part.jsonl.gz")
    done
}
if wanted 1 "Lhotse manifests"; then
    manifests_of "${parts[@]}"
    once manifests "stage 1: manifests" "${after_corpus[@]}" \
        --input "${corpus_inputs[@]}" --output "${manifests[@]}" -- \
        python -m espnet_ottc.bin.prepare_corpus --layout "$layout" manifests \
        --corpus "$corpus" --out "$datadir/manifests" --parts "${parts[@]}" "${alignments[@]}" --nj "$nj"
fi
if wanted 2 "cuts, every utterance checked"; then
    for set in "${sets[@]}"; do # NAME=PART,PART
        name=${set%%=*}
        # shellcheck disable=SC2046 # names of parts have no blanks
        manifests_of $(tr , ' ' <<<"${set#*=}")
        once "cuts_$name" "stage 2: cuts of $name" \
            --after "$datadir/.marks/manifests.json=stage 1 (manifests)" \
            --input "${manifests[@]}" --output "$datadir/$name/cuts.jsonl.gz" "$datadir/$name/text" -- \
            python -m espnet_ottc.bin.prepare_corpus --layout "$layout" cuts \
            --manifests "$datadir/manifests" --out "$datadir" --sets "$set" "${bad_alignments[@]}" --nj "$nj"
    done
fi
if wanted 3 "tokens"; then
    vocabulary=(--token_type "$token_type") outputs=("$tokens")
    if [ -n "$bpe_model" ]; then
        vocabulary+=(--nbpe "$nbpe" --bpe_model "$bpe_model") outputs+=("$bpe_model")
    fi
    once "tokens_$(basename "$(dirname "$tokens")")" "stage 3: tokens" \
        --after "$datadir/.marks/cuts_$train_set.json=stage 2 (cuts)" \
        --input "$datadir/$train_set/text" --output "${outputs[@]}" -- \
        python -m espnet_ottc.bin.make_tokens \
        --text "$datadir/$train_set/text" --out "$tokens" "${vocabulary[@]}"
fi
if wanted 4 "statistics"; then step recipe.feature_statistics "$@"; fi
if wanted 5 "train with CTC"; then step recipe.training ctc "$@"; fi
if wanted 6 "forced alignment"; then step recipe.forced_alignment "$@"; fi
if wanted 7 "train with OTTC"; then step recipe.training ottc "$@"; fi
if wanted 8 "decode"; then step recipe.decoding "$@"; fi
if wanted 9 "align"; then step recipe.alignment "$@"; fi
if wanted 10 "score words and times"; then step recipe.scoring "$@"; fi
if wanted 11 "report"; then
    step bin.report --results "$results" --expdir "$expdir" --data "$datadir" \
        --html "$html" --markdown "$markdown"
fi
