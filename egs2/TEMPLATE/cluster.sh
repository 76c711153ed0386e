# shellcheck shell=bash
# Where commands run.  Each variable holds the words that are put in front of a command, as in
# `srun --gres=gpu:1 python ...`; empty: commands run on this machine.  (These are no wrappers such as Kaldi's
# run.pl, which take a log file.)  With Slurm and GPUs:
#   train_cmd="srun --gres=gpu:1 --cpus-per-task=8"
#   decode_cmd="srun --gres=gpu:1"
export train_cmd=${train_cmd:-}   # trainings (stages 5 and 7)
export decode_cmd=${decode_cmd:-} # all else that has shards: audio, statistics, decoding, alignment, scores (2, 4, 6, 8, 9 and 10)
# Machines that are asked for once and serve many commands: --cluster (docs/howto/clusters.md).
