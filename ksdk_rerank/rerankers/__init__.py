"""The leaves: one reranker a file. Each asks one kind of model how relevant a document is."""
