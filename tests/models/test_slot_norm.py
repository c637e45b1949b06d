"""Batch normalisation in slots: what torch's gives of the filled ones, whatever stands in the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastmrcnn.models.blocks import make_norm
from fastmrcnn.models.slot_norm import normalise_filled
from tests.models.no_waiting import no_waiting

FILLED = torch.tensor([True, False, True, True, False])


def norm_with(kind: type[nn.Module], momentum: float | None, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    norm = kind(4, momentum=momentum)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.to(dtype)


def run(norm: nn.Module, x: Tensor, filled: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """The output, and the gradients of input, weight and bias; of filled slots."""
    x = x.clone().requires_grad_()
    out = normalise_filled(norm, x, filled)
    rows = slice(None) if filled is None else filled
    (out[rows] * torch.linspace(-1, 1, x.shape[1:].numel()).reshape(x.shape[1:])).square().sum().backward()
    return out[rows].detach(), [x.grad[rows], norm.weight.grad, norm.bias.grad]


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("filled", [FILLED, torch.ones(5).bool(), torch.zeros(5).bool()])
def test_it_is_torchs_of_the_filled_slots(kind: type[nn.Module], momentum: float | None, filled: Tensor) -> None:
    x = torch.randn(5, 4, 3, 2) * 2 + 1
    theirs, ours = norm_with(kind, momentum), norm_with(kind, momentum)
    for step in range(3):
        expected, wanted = run(theirs, (x + step)[filled], None)
        spoilt = torch.where(filled[:, None, None, None], x + step, 1e6)
        found, gradients = run(ours, spoilt, filled)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradients, wanted, atol=1e-4, rtol=1e-4)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


def test_empty_slots_receive_no_gradient() -> None:
    norm = norm_with(nn.BatchNorm2d, 0.1, torch.float64)
    x = torch.randn(5, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: normalise_filled(norm, x, FILLED)[FILLED], (x,))
    normalise_filled(norm, x, FILLED)[FILLED].square().sum().backward()
    assert (x.grad[~FILLED] == 0).all()
    assert (x.grad[FILLED] != 0).all()


def test_a_single_value_is_its_own_mean() -> None:
    """One region in a fully connected layer, with and without empty slots beside it."""
    alone, beside = norm_with(nn.BatchNorm2d, 0.1), norm_with(nn.BatchNorm2d, 0.1)
    x = torch.randn(5, 4, 1, 1)
    found = normalise_filled(alone, x[:1], None)
    assert torch.equal(found[0, :, 0, 0], alone.bias)
    assert torch.equal(normalise_filled(beside, x, torch.arange(5) == 0)[:1], found)
    for name, value in alone.state_dict().items():
        assert value.isfinite().all()
        assert torch.equal(beside.state_dict()[name], value)


@pytest.mark.parametrize("norm", ["none", "frozen_bn", "gn"])
def test_norms_without_batch_statistics_are_left_alone(norm: Any) -> None:
    module, x = make_norm(norm, 8), torch.randn(5, 8, 3, 3)
    assert torch.equal(normalise_filled(module, x, FILLED), module(x))


def test_running_statistics_serve_in_evaluation() -> None:
    norm, x = norm_with(nn.BatchNorm2d, 0.1).eval(), torch.randn(5, 4, 2, 2)
    assert torch.equal(normalise_filled(norm, x, FILLED), norm(x))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_host_need_not_wait(momentum: float | None) -> None:
    norm = norm_with(nn.BatchNorm2d, momentum)
    x = torch.randn(5, 4, 2, 2, requires_grad=True)
    with no_waiting():
        normalise_filled(norm, x, FILLED).sum().backward()


def test_half_precision_is_summed_in_full() -> None:
    x = (torch.randn(5, 4, 6, 6) + 100).bfloat16()
    expected = normalise_filled(norm_with(nn.BatchNorm2d, 0.1), x.float(), FILLED)
    found = normalise_filled(norm_with(nn.BatchNorm2d, 0.1), x, FILLED)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=2e-2, rtol=1e-2)


def _one_of_two(rank: int, address: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.set_num_threads(1)
    norm, (x, filled) = norm_with(nn.SyncBatchNorm, 0.1), shares()[rank]
    found, gradients = run(norm, x, filled)
    torch.save((found, gradients, norm.state_dict()), Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def shares() -> list[tuple[Tensor, Tensor]]:
    """What each of two processes has, different in number: as images have objects."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(10, 4, 3, 2, generator=generator) * 3
    return [(x[:5], FILLED), (x[5:], torch.tensor([False, False, True, False, False]))]


@pytest.mark.slow
def test_two_processes_share_their_statistics(tmp_path: Path) -> None:
    """As one process that has both batches; torch's own needs GPUs for this."""
    address = f"file://{tmp_path}/rendezvous"
    torch.multiprocessing.spawn(_one_of_two, args=(address, str(tmp_path)), nprocs=2)
    x, filled = (torch.cat(parts) for parts in zip(*shares(), strict=True))
    together = norm_with(nn.BatchNorm2d, 0.1)
    expected, (of_input, *of_parameters) = run(together, x, filled)
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([found for found, _, _ in both]), expected)
    torch.testing.assert_close(torch.cat([gradients[0] for _, gradients, _ in both]), of_input)
    for first, second, wanted in zip(both[0][1][1:], both[1][1][1:], of_parameters, strict=True):
        torch.testing.assert_close(first + second, wanted)  # which data-parallel training adds up
    for name, value in together.state_dict().items():
        torch.testing.assert_close(both[0][2][name], value)
        torch.testing.assert_close(both[1][2][name], value)
