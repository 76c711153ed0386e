"""Commands, each run as `python -m espnet_ottc.bin.<name>`; most have a console script too (`ottc-...`).

Their modules import what they need when they run, so that `--help` answers at once and without any extra.
"""
