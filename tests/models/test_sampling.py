"""Balanced sampling: counts, candidates, seeds; with and without a look at the number of candidates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn.models import padding
from fastmrcnn.models.sampling import Sample, sample_balanced


def parts(sample: Sample, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The positives and the negatives, without empty slots."""
    drawn = sample.gather(labels, empty=-1)
    assert (drawn[sample.positives :] <= 0).all()
    return sample.chosen[drawn >= 1], sample.chosen[drawn == 0]


@pytest.fixture(params=["host", "device"])
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the number of candidates is known: a GPU keeps it to itself."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "device":
            patch.setattr(padding, "reading_is_free", lambda _tensor: False)
        yield request.param


@pytest.mark.usefixtures("place")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(st.sampled_from([-1, 0, 1, 2]), max_size=40),
    count=st.integers(1, 20),
    fraction=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_draws_distinct_candidates_and_fills_up_with_negatives(labels: list[int], count: int, fraction: float) -> None:
    candidates_and_others = torch.tensor([*labels, -1])
    sample = sample_balanced(candidates_and_others, count, fraction)
    assert sample.chosen.shape == (count,)
    positive, negative = (part.tolist() for part in parts(sample, candidates_and_others))
    assert len(set(positive)) == len(positive)
    assert len(set(negative)) == len(negative)
    assert sample.chosen.tolist() == positive + negative + [-1] * (count - len(positive) - len(negative))
    candidates = sum(label >= 1 for label in labels)
    assert len(positive) == min(candidates, int(count * fraction))
    assert len(negative) == min(labels.count(0), count - len(positive))


@pytest.mark.usefixtures("place")
def test_the_seed_fixes_the_sample() -> None:
    labels = torch.arange(1000) % 3
    torch.manual_seed(4)
    first = sample_balanced(labels, 64, 0.5).chosen
    second = sample_balanced(labels, 64, 0.5).chosen
    torch.manual_seed(4)
    assert torch.equal(sample_balanced(labels, 64, 0.5).chosen, first)
    assert not torch.equal(first, second)


def test_the_same_seed_gives_torchvisions_sample() -> None:
    utils = pytest.importorskip("torchvision.models.detection._utils", reason="torchvision is the peer")
    labels = [torch.randint(-1, 3, (300,)), torch.randint(-1, 1, (200,))]
    torch.manual_seed(4)
    positive, negative = utils.BalancedPositiveNegativeSampler(64, 0.25)(labels)
    torch.manual_seed(4)
    samples = [sample_balanced(label, 64, 0.25) for label in labels]
    for label, sample, theirs, others in zip(labels, samples, positive, negative, strict=True):
        for ours, mask in zip(parts(sample, label), (theirs, others), strict=True):
            assert torch.equal(ours.sort().values, torch.where(mask)[0])


@pytest.mark.usefixtures("place")
def test_every_candidate_is_drawn_equally_often() -> None:
    labels = torch.tensor([1, 0, 1, -1, 1, 0, 1, 0, -1, 0])
    times = torch.zeros(len(labels))
    for _ in range(2000):
        times[sample_balanced(labels, 4, 0.5).chosen] += 1  # 2 of 4 positives, 2 of 4 negatives
    assert (times[labels < 0] == 0).all()
    # Each 1000 times in expectation, with a standard deviation of sqrt(2000 / 4) = 22.
    assert ((times[labels >= 0] - 1000).abs() < 120).all()
