"""Rerankers made of rerankers, one a file."""
