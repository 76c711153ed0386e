"""Commands, each run as `python -m espnet_ottc.bin.<name>`."""
