"""Rank strings with the bundled model: no framework, no download, no key.

Needs `pip install "ksdk-rerank[local]"`.
"""

from ksdk_rerank import load_reranker

documents = [
    "The colour key of the heat map lies in its lower right corner.",
    "To rotate an API key, run `lf keys rotate`; the old key works for another day.",
    "An API key belongs to a project.",
]

reranker = load_reranker("embedded")  # if you can download models: "cross-encoder/ms-marco-MiniLM-L-6-v2"
for hit in reranker.rank("How do I rotate an API key?", documents, top_n=2):
    print(f"{hit.score:.1f}  {hit.document}")
