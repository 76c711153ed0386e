"""Knowledge transfer: a frozen language model teaches the encoder in training, along a transport plan."""
