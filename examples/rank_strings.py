"""Rank strings with the bare core: no framework, no model, no key."""

from ksdk_rerank import load_reranker

documents = [
    "The colour key of the heat map lies in its lower right corner.",
    "To rotate an API key, run `lf keys rotate`; the old key works for another day.",
    "Rotate the camera with the middle mouse button.",
]

# "lexical" is BM25; "cross-encoder/ms-marco-MiniLM-L-6-v2" is a cross-encoder (pip install "ksdk-rerank[local]").
reranker = load_reranker("lexical")
for hit in reranker.rank("How do I rotate an API key?", documents, top_n=2):
    print(f"{hit.score:.2f}  {hit.document}")
