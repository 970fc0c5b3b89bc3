"""The commands of `ksdk-rerank`, one a file, and what they share."""
