"""Builds rerankers from short names and from configurations, and writes those configurations.

`load_reranker` reads a name such as `"cohere:rerank-v3.5"`, for command lines and adapters. `to_config` and
`from_config` write and read a reranker with all its options, for files, databases and the frameworks' own formats.
"""

from ksdk_rerank.loading.configurations import from_config, to_config
from ksdk_rerank.loading.names import default_name, load_reranker, reranker_names

__all__ = ["default_name", "from_config", "load_reranker", "reranker_names", "to_config"]
