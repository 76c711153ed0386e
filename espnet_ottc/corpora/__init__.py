"""Speech corpora: Lhotse cuts of real ones, and synthetic speech in the same layouts."""
