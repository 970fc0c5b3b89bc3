"""The leaves: one reranker per file. Each scores documents with one kind of model."""
