#!/usr/bin/env bash
# The stages of an OTTC recipe.  Each egs2/*_ottc/run.sh calls it from its own folder, which has conf/.
# `./run.sh --help` lists the options.  A stage that is done is skipped; one whose inputs have changed is done
# again; what failed or was interrupted goes on with the same command.
# shellcheck disable=SC1090,SC1091 # files of this folder and of the recipe's
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
for file in db.sh path.sh cluster.sh; do
    . "$here/$file"
    if [ -f "./$file" ]; then . "./$file"; fi # the recipe's own, for what differs
done

stage() { # NUMBER NAME TITLE OPTIONS ...: do it, if it is from --stage to --stop_stage
    # In the background, since a shell that waits for it in the foreground would see signals only afterwards.
    python -m espnet_ottc.recipe "$2" "${@:4}" &
    wait $!
}

end() { # STATUS: of the whole run, once what runs has ended
    trap '' INT TERM HUP
    running=$(jobs -p)
    if [ -n "$running" ]; then
        kill -TERM "$running" 2>/dev/null || true
        wait "$running" || true
    fi
    exit "$1"
}
trap 'end 130' INT
trap 'end 143' TERM
trap 'end 129' HUP
# However this shell ends, what it started ends too.
export espnet_ottc_shell=$$

for word; do
    case $word in -h | --help) exec python -m espnet_ottc.recipe "$@" ;; esac
done
# All options are checked before anything runs.
python -m espnet_ottc.recipe check "$@"

stage 0 corpus "corpus" "$@"
stage 1 manifests "Lhotse manifests" "$@"
stage 2 cuts "cuts, every utterance checked" "$@"
stage 3 tokens "tokens" "$@"
stage 4 statistics "statistics" "$@"
stage 4 teacher "language model that teaches" "$@"
stage 5 train_ctc "train with CTC" "$@"
stage 6 forced_alignment "forced alignment" "$@"
stage 7 train_ottc "train with OTTC" "$@"
stage 8 decode "decode" "$@"
stage 9 align "align" "$@"
stage 10 score "score words and times" "$@"
stage 11 report "report" "$@"
