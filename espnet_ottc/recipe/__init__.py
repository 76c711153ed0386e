"""The recipe engine: from a corpus to scores, in numbered stages."""
