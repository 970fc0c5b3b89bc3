"""The recipe of the embedded cross-encoder; not part of the package."""
