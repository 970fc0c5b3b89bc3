"""Send the language model the sentences that answer, not whole pages. Prints the prompt before and after.

Needs `pip install "ksdk-rerank[local,passages]"`.
"""

from pathlib import Path

from ksdk_rerank import Passages


def count(text: str) -> int:
    return len(text) // 4  # about right for English; use your model's tokenizer, such as tiktoken's


question = "Does the old API key keep working after a rotation?"
pages = [page.read_text(encoding="utf-8") for page in sorted((Path(__file__).parent / "knowledge_base").glob("*.md"))]

reranker = Passages("embedded", max_tokens_per_document=40)
best = reranker.rank(question, pages, top_n=3).within(150, count=count, passages=True)

before = "\n\n".join(hit.document.strip() for hit in best)
after = "\n\n".join(hit.excerpt() for hit in best)
for name, prompt in (("Before", before), ("After", after)):
    print(f"{name}: {count(prompt)} tokens\n\n{prompt}\n")
