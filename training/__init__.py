"""Trains the embedded cross-encoder: a small BERT learns to score pairs as a larger one does. See `inputs.md`."""
