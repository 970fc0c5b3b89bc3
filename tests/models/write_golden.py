"""Write what `test_embedded.py` compares with: the float32 logits of twenty pairs, and the hashes of the bundled files.

    python tests/models/write_golden.py FOLDER      (needs ksdk-rerank[torch])

`FOLDER` is what training leaves in its `--work`, such as `WORK/6-layers-seed-0/model`, with the weights in float32. The
pairs are those of `embedded_golden.json`, whose logits and hashes are replaced.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.models import EMBEDDED, folder_of

GOLDEN = Path(__file__).with_name("embedded_golden.json")


def main(folder: str) -> None:
    pairs = json.loads(GOLDEN.read_text(encoding="utf-8"))["pairs"]
    with CrossEncoderReranker(folder, backend="torch", dtype="float32", device="cpu") as reranker:
        for pair in pairs:
            pair["logit"] = round(reranker.score(pair["query"], [pair["document"]]).raw[0], 4)
    shipped = folder_of(EMBEDDED)
    files = sorted(path for path in shipped.rglob("*") if path.is_file() and path.name != "MODEL_CARD.md")
    hashes = {path.relative_to(shipped).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    content = json.dumps({"sha256": hashes, "pairs": pairs}, indent=1, ensure_ascii=False)
    GOLDEN.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
