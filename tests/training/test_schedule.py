"""The learning rate of each step, and which parameters decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastmrcnn.training import TrainConfig
from fastmrcnn.training.schedule import learning_rate, make_optimizer, parameter_groups


def config(**changes: Any) -> TrainConfig:
    return TrainConfig("a.json", "images", learning_rate=0.1, **changes)  # type: ignore[arg-type]


def test_linear_warmup_then_steps() -> None:
    run = config(warmup_steps=10, lr_milestones=(0.5, 0.75), lr_decay=0.1)
    rates = [learning_rate(step, 100, run) for step in range(100)]
    assert rates[0] == pytest.approx(0.0001)
    assert rates[5] == pytest.approx(0.1 * (0.001 + 0.999 * 0.5))
    assert rates[10] == rates[49] == pytest.approx(0.1)
    assert rates[50] == rates[74] == pytest.approx(0.01)
    assert rates[75] == rates[99] == pytest.approx(0.001)


def test_cosine_starts_at_the_peak_and_ends_near_zero() -> None:
    run = config(warmup_steps=10, schedule="cosine")
    rates = [learning_rate(step, 110, run) for step in range(110)]
    assert rates[10] == pytest.approx(0.1)
    assert rates[60] == pytest.approx(0.05)
    assert 0 < rates[-1] < 1e-4
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_one_cycle_rises_for_thirty_per_cent_and_ends_deep() -> None:
    run = config(schedule="onecycle", warmup_steps=0)
    rates = [learning_rate(step, 101, run) for step in range(101)]
    reference = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(reference, 0.1, total_steps=101, cycle_momentum=False)
    expected = []
    for _ in range(101):
        expected.append(scheduler.get_last_lr()[0])
        reference.step()
        if len(expected) < 101:
            scheduler.step()
    # torch counts the peak one step earlier, at 0.3 * 101 - 1.
    assert max(abs(rate - other) for rate, other in zip(rates, expected, strict=True)) < 0.1 * 0.03
    assert rates[30] == max(rates) == pytest.approx(0.1)
    assert rates[0] == pytest.approx(0.004)
    assert rates[-1] == pytest.approx(4e-7)


def test_one_cycle_rises_for_as_long_as_the_warmup_if_that_is_longer() -> None:
    rates = [learning_rate(step, 101, config(schedule="onecycle", warmup_steps=40)) for step in range(101)]
    assert rates.index(max(rates)) == 40
    assert learning_rate(0, 1, config(schedule="onecycle")) > 0


def test_warmup_takes_at_most_half_of_a_short_run() -> None:
    run = config(warmup_steps=1000, lr_milestones=())
    assert learning_rate(5, 10, run) == pytest.approx(0.1)
    assert learning_rate(0, 1, run) == pytest.approx(0.1)


def test_weight_decay_spares_biases_norms_and_frozen_parameters() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    with_decay, without = parameter_groups(model, 0.5)
    assert with_decay["weight_decay"] == 0.5
    assert [p is model[0].weight for p in with_decay["params"]] == [True]
    assert without["weight_decay"] == 0.0
    assert len(without["params"]) == 4


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizer_by_name(name: Any, kind: type) -> None:
    optimizer = make_optimizer(torch.nn.Linear(2, 2), config(optimizer=name, momentum=0.8))
    assert isinstance(optimizer, kind)
    assert optimizer.defaults.get("momentum", optimizer.defaults.get("betas", [None])[0]) == 0.8
