# shellcheck shell=bash
# Words in front of the commands that train, and of those that decode or collect statistics.  Empty: they
# run here.  With Slurm: train_cmd="srun --gres=gpu:1 --cpus-per-task=8", decode_cmd="srun".
export train_cmd=${train_cmd:-}
export decode_cmd=${decode_cmd:-}
