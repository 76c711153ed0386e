"""From posteriors to texts: greedy decoding, label decoding and beam search."""
