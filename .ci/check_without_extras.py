"""Without extras, everything public can be imported, and what is missing is named."""

import ksdk_rerank
from ksdk_rerank.errors import MissingExtra

for name in ksdk_rerank.__all__:
    getattr(ksdk_rerank, name)
try:
    ksdk_rerank.CrossEncoderReranker("some/model").rank("query", ["document"])
except MissingExtra as error:
    print("as expected:", error)
for package in ("langchain_ksdk_rerank", "llamaindex_ksdk_rerank"):
    try:
        __import__(package)
    except MissingExtra as error:
        print("as expected:", error)
    else:
        raise SystemExit(f"{package} imports without its framework")
