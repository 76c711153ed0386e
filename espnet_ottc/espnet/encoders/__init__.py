"""Encoders that ESPnet does not bring."""
