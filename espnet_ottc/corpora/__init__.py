"""Readers of speech corpora: from their own layouts to Lhotse cuts."""
