from __future__ import annotations

import numpy as np
import pytest

from ksdk_rerank.engines.batching import pad, rounded, split


def test_the_examples_in_the_docstrings_hold() -> None:
    assert split([3, 10, 4, 9], budget=20) == [[1, 3], [2, 0]]
    assert [len(batch) for batch in split([60] * 20, budget=768, streams=2)] == [10, 10]


@pytest.mark.parametrize("streams", [1, 2, 4])
@pytest.mark.parametrize("budget", [1, 20, 64, 1000])
def test_every_pair_is_in_one_batch_and_no_batch_exceeds_the_budget(budget: int, streams: int) -> None:
    every = [int(length) for length in np.random.default_rng(0).integers(1, 64, 300)]
    for lengths in (every, every[:30]):
        batches = split(lengths, budget, streams)
        assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
        for batch in batches:
            assert lengths[batch[0]] == max(lengths[position] for position in batch)
            assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget


def test_expensive_batches_come_first_and_equal_lengths_in_input_order() -> None:
    assert split([5, 7, 5, 7], budget=14) == [[1, 3], [0, 2]]
    assert split([400, *[90] * 5], budget=500) == [[1, 2, 3, 4, 5], [0]]


def test_a_batch_ends_where_padding_would_cost_more_than_another_batch() -> None:
    assert split([100, 90, 40, 40], budget=500) == [[0, 1], [2, 3]]
    assert split([100, 95, 90, 90], budget=500) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("lengths", "batches"),
    [
        ([100] * 8, [4, 4]),
        ([100] * 3, [2, 1]),
        ([62, 60, 58, 56, 54, 52, 50], [4, 3]),
        ([512, *[40] * 30], [1, 9, 9, 9, 3]),
        ([10], [1]),
    ],
)
def test_two_threads_finish_a_call_at_about_the_same_time(lengths: list[int], batches: list[int]) -> None:
    assert [len(batch) for batch in split(lengths, budget=500, streams=2)] == batches


def test_no_pairs_make_no_batch() -> None:
    assert split([], budget=10) == split([], budget=10, streams=2) == []


def test_padding_goes_to_the_right_and_is_masked() -> None:
    batch = pad([np.array([[2, 9, 3], [0, 0, 1]], np.int32), np.array([[2], [1]], np.int32)], pad_id=7, length=4)
    assert batch.ids.tolist() == [[2, 9, 3, 7], [2, 7, 7, 7]]
    assert batch.types.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert {batch.ids.dtype, batch.types.dtype, batch.mask.dtype} == {np.dtype(np.int64)}


def test_lengths_are_rounded_up_but_never_beyond_what_the_model_reads() -> None:
    assert [rounded(length, 16, 40) for length in (1, 16, 17, 33, 40)] == [16, 16, 32, 40, 40]
    assert [rounded(length, 1, 40) for length in (1, 17)] == [1, 17]
