"""The recipe that trains the embedded cross-encoder; not part of the package."""
