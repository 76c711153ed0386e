# shellcheck shell=bash
# Words in front of the commands that train, and of those that collect statistics, decode and align.  Empty:
# they run here.  With Slurm and GPUs: train_cmd="srun --gres=gpu:1 --cpus-per-task=8",
# decode_cmd="srun --gres=gpu:1".
export train_cmd=${train_cmd:-}
export decode_cmd=${decode_cmd:-}
