"""Wrappers: rerankers built from other rerankers, one per module."""
