"""Encoders that ESPnet lacks, and where the frames of any encoder lie in time."""
