"""Knowledge transfer: a frozen language model teaches the encoder, along a transport plan, in training alone."""
