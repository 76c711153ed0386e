"""Modules for a model of one's own, in plain PyTorch: the OTTC head and the frame weights in it."""
