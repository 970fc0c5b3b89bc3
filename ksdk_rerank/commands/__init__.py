"""The commands of `ksdk-rerank` that rank, search and compare, one a file."""
