"""Balanced sampling: counts, candidates, seeds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastmrcnn.models.sampling import sample_balanced


@given(
    labels=st.lists(st.sampled_from([-1, 0, 1, 2]), max_size=40),
    count=st.integers(1, 20),
    fraction=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_draws_distinct_candidates_and_fills_up_with_negatives(labels: list[int], count: int, fraction: float) -> None:
    sample = sample_balanced(torch.tensor(labels, dtype=torch.int64), count, fraction)
    positive, negative = sample.positive.tolist(), sample.negative.tolist()
    assert all(labels[index] >= 1 for index in positive)
    assert all(labels[index] == 0 for index in negative)
    assert positive == sorted(set(positive))
    assert negative == sorted(set(negative))
    assert sample.both.tolist() == sorted(positive + negative)
    candidates = sum(label >= 1 for label in labels)
    assert len(positive) == min(candidates, int(count * fraction))
    assert len(negative) == min(labels.count(0), count - len(positive))


def test_the_seed_fixes_the_sample() -> None:
    labels = torch.arange(1000) % 3
    torch.manual_seed(4)
    first = sample_balanced(labels, 64, 0.5).both
    second = sample_balanced(labels, 64, 0.5).both
    torch.manual_seed(4)
    assert torch.equal(sample_balanced(labels, 64, 0.5).both, first)
    assert not torch.equal(first, second)


def test_the_same_seed_gives_torchvisions_sample() -> None:
    utils = pytest.importorskip("torchvision.models.detection._utils", reason="torchvision is the peer")
    labels = [torch.randint(-1, 3, (300,)), torch.randint(-1, 1, (200,))]
    torch.manual_seed(4)
    positive, negative = utils.BalancedPositiveNegativeSampler(64, 0.25)(labels)
    torch.manual_seed(4)
    samples = [sample_balanced(label, 64, 0.25) for label in labels]
    for sample, theirs, others in zip(samples, positive, negative, strict=True):
        assert torch.equal(sample.positive, torch.where(theirs)[0])
        assert torch.equal(sample.negative, torch.where(others)[0])
