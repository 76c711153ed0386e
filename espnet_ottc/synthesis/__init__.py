"""Synthetic speech with exact times, in the layouts of real corpora."""
