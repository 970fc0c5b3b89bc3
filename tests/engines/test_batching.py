from __future__ import annotations

import numpy as np
import pytest

from ksdk_rerank.engines.batching import pad, rounded, share, split


def test_the_example_in_the_docstring_holds() -> None:
    assert list(split([3, 10, 4, 9], budget=20)) == [[1, 3], [2, 0]]


@pytest.mark.parametrize("budget", [1, 20, 64, 1000])
def test_every_pair_is_in_one_batch_and_no_batch_exceeds_the_budget(budget: int) -> None:
    lengths = [int(length) for length in np.random.default_rng(0).integers(1, 64, 300)]
    batches = list(split(lengths, budget))
    assert sorted(position for batch in batches for position in batch) == list(range(300))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[position] for position in batch) <= budget


def test_batches_come_longest_first_and_equal_lengths_in_input_order() -> None:
    assert list(split([5, 7, 5, 7], budget=14)) == [[1, 3], [0, 2]]


def test_work_is_spread_evenly_over_the_streams() -> None:
    assert share([100] * 8, budget=500, streams=2) == 400
    assert share([100] * 8, budget=500, streams=1) == 500
    assert share([100] * 8, budget=1, streams=2) == 1


def test_no_pairs_make_no_batch() -> None:
    assert list(split([], budget=10)) == []


def test_padding_goes_to_the_right_and_is_masked() -> None:
    batch = pad([np.array([[2, 9, 3], [0, 0, 1]], np.int32), np.array([[2], [1]], np.int32)], pad_id=7, length=4)
    assert batch.ids.tolist() == [[2, 9, 3, 7], [2, 7, 7, 7]]
    assert batch.types.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert {batch.ids.dtype, batch.types.dtype, batch.mask.dtype} == {np.dtype(np.int64)}


def test_lengths_are_rounded_up_but_never_beyond_what_the_model_reads() -> None:
    assert [rounded(length, 16, 40) for length in (1, 16, 17, 33, 40)] == [16, 16, 32, 40, 40]
    assert [rounded(length, 1, 40) for length in (1, 17)] == [1, 17]
