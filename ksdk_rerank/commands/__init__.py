"""The `ksdk-rerank` commands, one per file, and the code they share."""
