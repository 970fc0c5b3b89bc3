"""`PromptChain`: a language model and its LogitScore, from the token ids of prompts to scores.

The prompts of one call begin alike: with the system's text, the instruction and mostly the query. `read` runs these
tokens once, and the prompts then run without them. Follows transformers' key-value cache (cache_utils.py, 5.24). But:
nothing is added to it, so one prefix serves any number of batches, and a batch's own keys and values are freed layer by
layer.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache

__all__ = ["PromptChain"]


class PromptChain(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
    """A language model and its LogitScore, from the token ids of prompts, padded on the left, to scores."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.chain = encoder
        parameters = inspect.signature(encoder.model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"  # the name before transformers 5.24
        self.reads_prefixes = (
            type(encoder.model).__module__.startswith("transformers.")  # code of its own may ignore the cache
            and getattr(encoder.model.config, "is_causal", True)  # or the prefix sees the tokens after it
            and self._takes_positions
            and self._cache_name in parameters
            and "config" in inspect.signature(DynamicCache).parameters  # transformers 4.56 or newer
            # Layers of other kinds, such as those of a sliding window, do not keep all keys and values.
            and {type(layer).__name__ for layer in _empty_cache(encoder).layers} == {"DynamicLayer"}
        )

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None, prefix: Any = None) -> Any:
        # One position's logits: a vocabulary is large. Positions count from the first token, not from the padding.
        features = {"input_ids": input_ids, "modality": "message", "logits_to_keep": 1}
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
        if prefix is not None:
            length = prefix.get_seq_length()
            positions = positions + length
            attention_mask = torch.nn.functional.pad(attention_mask, (length, 0), value=1)
            features |= {self._cache_name: prefix, "use_cache": True}
        if self._takes_positions:
            features["position_ids"] = positions
        return self.chain({**features, "attention_mask": attention_mask})["scores"]

    def read(self, input_ids: Any) -> Any:
        """The keys and values of a prefix of shape (1, tokens), for `forward`."""
        cache = _empty_cache(self.chain)
        self(input_ids, torch.ones_like(input_ids), prefix=cache)
        for layer in cache.layers:
            layer.update = partial(_joined, layer.keys, layer.values)
        return cache


def _empty_cache(encoder: Any) -> Any:
    return DynamicCache(config=encoder.model.config)


def _joined(keys: Any, values: Any, new_keys: Any, new_values: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
    """The keys and values of a prefix, and those of the tokens after it, for each prompt of a batch."""
    sizes = (len(new_keys), -1, -1, -1)
    return torch.cat([keys.expand(sizes), new_keys], dim=-2), torch.cat([values.expand(sizes), new_values], dim=-2)
