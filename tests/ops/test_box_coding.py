"""encode_boxes and decode_boxes: kernel, formula, round trip, degenerate boxes, gradients, torchvision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn.ops import clip_boxes_to_image, decode_boxes, encode_boxes
from tests.ops.box_cases import DEGENERATE, INF, NAN, random_boxes

DTYPES = [torch.float32, torch.float64]
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
CLIP = math.log(1000 / 16)
# The kernel's exponential is within two units in the last place of torch's; sides here are below 1e4 pixels.
KERNEL_TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-11}


def reference_decode(deltas: Tensor, boxes: Tensor, weights: tuple[float, ...], clip: float) -> np.ndarray:
    decoded = np.empty((len(deltas), deltas.shape[1] // 4, 4))
    for n, (row, (x1, y1, x2, y2)) in enumerate(zip(deltas.double().numpy(), boxes.double().numpy(), strict=True)):
        for c, (dx, dy, dw, dh) in enumerate(row.reshape(-1, 4) / weights):
            centre_x, centre_y = dx * (x2 - x1) + (x1 + x2) / 2, dy * (y2 - y1) + (y1 + y2) / 2
            width, height = math.exp(min(dw, clip)) * (x2 - x1), math.exp(min(dh, clip)) * (y2 - y1)
            decoded[n, c] = centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2
    return decoded


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 91])
@pytest.mark.parametrize("n", [0, 1, 7, 40])
def test_decode_equals_the_reference(n: int, classes: int, dtype: torch.dtype) -> None:
    boxes, deltas = random_boxes(n, dtype=dtype), 5 * torch.randn(n, classes * 4, dtype=dtype)
    decoded = decode_boxes(deltas, boxes, WEIGHTS)
    assert decoded.shape == ((n, 4) if classes == 1 else (n, classes, 4))
    assert decoded.dtype == dtype
    expected = reference_decode(deltas, boxes, WEIGHTS, CLIP)
    np.testing.assert_allclose(decoded.numpy().reshape(expected.shape), expected, rtol=0, atol=KERNEL_TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 3])
def test_kernel_and_formula_agree(classes: int, dtype: torch.dtype) -> None:
    boxes, deltas = random_boxes(5000, dtype=dtype), 9 * torch.randn(5000, classes * 4, dtype=dtype)
    for image_size in (None, (70, 50)):
        kernel = decode_boxes(deltas, boxes, WEIGHTS, image_size=image_size)
        formula = decode_boxes(deltas.clone().requires_grad_(), boxes, WEIGHTS, image_size=image_size)
        assert formula.requires_grad
        torch.testing.assert_close(kernel, formula.detach(), rtol=1e-6, atol=KERNEL_TOLERANCE[dtype])


def test_the_exponential_of_the_kernel() -> None:
    x = torch.cat(
        [torch.linspace(-87.3, 88.72, 200_001), torch.tensor([-1e30, -INF, -100, 0, -0.0, 88.73, 1e30, INF, NAN])]
    )
    deltas = torch.stack([torch.zeros_like(x), torch.zeros_like(x), x, x], dim=1)
    sides = decode_boxes(deltas, torch.tensor([[-0.5, -0.5, 0.5, 0.5]]).expand(len(x), 4), clip=INF)[:, 2] * 2
    torch.testing.assert_close(sides[:-9], x[:-9].exp(), rtol=2.0**-22, atol=0)
    torch.testing.assert_close(sides[-9:], x[-9:].exp(), rtol=0, atol=1e-37, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_boxes_decode_as_the_formula_does(name: str, dtype: torch.dtype) -> None:
    boxes = torch.tensor([DEGENERATE[name]], dtype=dtype)
    deltas = torch.tensor([[0.5, -0.5, 0.25, 8.0]], dtype=dtype)
    formula = decode_boxes(deltas.clone().requires_grad_(), boxes).detach()
    torch.testing.assert_close(decode_boxes(deltas, boxes), formula, equal_nan=True)


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30])
def test_odd_deltas_decode_as_the_formula_does(value: float) -> None:
    boxes, deltas = random_boxes(4), torch.where(torch.eye(4, dtype=torch.bool), value, 0.1)
    formula = decode_boxes(deltas.clone().requires_grad_(), boxes, image_size=(50, 50)).detach()
    torch.testing.assert_close(decode_boxes(deltas, boxes, image_size=(50, 50)), formula, equal_nan=True)


def test_clip_bounds_growth_only() -> None:
    box = torch.tensor([[0.0, 0, 10, 10]])
    grown = decode_boxes(torch.tensor([[0.0, 0, 1, -9]]), box, clip=math.log(1.5))
    torch.testing.assert_close(grown, torch.tensor([[-2.5, 5, 12.5, 5]]), rtol=0, atol=1e-3)


def test_image_size_clips() -> None:
    boxes, deltas = random_boxes(30), torch.randn(30, 8)
    clipped = decode_boxes(deltas, boxes, image_size=(60, 40))
    assert torch.equal(clipped, clip_boxes_to_image(decode_boxes(deltas, boxes), (60, 40)))


coordinate = st.floats(-1e3, 1e3, width=32)
side = st.floats(1, 1e3, width=32)
box_strategy = st.tuples(coordinate, coordinate, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(st.lists(st.tuples(box_strategy, box_strategy), min_size=1, max_size=5))
def test_decode_inverts_encode(pairs: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> None:
    reference, proposals = (torch.tensor(boxes, dtype=torch.float64) for boxes in zip(*pairs, strict=True))
    deltas = encode_boxes(reference, proposals, WEIGHTS)
    torch.testing.assert_close(decode_boxes(deltas, proposals, WEIGHTS, clip=INF), reference, rtol=1e-9, atol=1e-9)


def test_encode_known_values() -> None:
    deltas = encode_boxes(torch.tensor([[0.0, 0, 20, 5]]), torch.tensor([[0.0, 0, 10, 10]]), (1.0, 2.0, 3.0, 4.0))
    torch.testing.assert_close(deltas, torch.tensor([[0.5, -0.5, 3 * math.log(2), -4 * math.log(2)]]))
    assert encode_boxes(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    deltas, boxes = torch.randn(20, 8).to(dtype), random_boxes(20)
    assert torch.equal(decode_boxes(deltas, boxes), decode_boxes(deltas.float(), boxes))
    halves = boxes.to(dtype)
    assert torch.equal(encode_boxes(halves, boxes), encode_boxes(halves.float(), boxes))


def test_strided_input() -> None:
    deltas, boxes = torch.randn(20, 8), random_boxes(20)
    got = decode_boxes(deltas.t().contiguous().t(), boxes.repeat(1, 2)[:, :4])
    assert torch.equal(got, decode_boxes(deltas, boxes))


def test_the_number_of_threads_changes_nothing() -> None:
    deltas, boxes = torch.randn(30_000, 4), random_boxes(30_000)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = decode_boxes(deltas, boxes)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(decode_boxes(deltas, boxes), alone)


def test_gradients() -> None:
    boxes = random_boxes(4, dtype=torch.float64).requires_grad_()
    reference = random_boxes(4, dtype=torch.float64).requires_grad_()
    deltas = torch.randn(4, 8, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, b: decode_boxes(d, b, WEIGHTS, clip=0.1), (deltas, boxes))
    assert torch.autograd.gradcheck(lambda d, b: decode_boxes(d, b, image_size=(50, 50)), (deltas, boxes))
    assert torch.autograd.gradcheck(lambda r, b: encode_boxes(r, b, WEIGHTS), (reference, boxes))
    assert torch.autograd.gradgradcheck(lambda d, b: decode_boxes(d, b), (deltas, boxes))
    with torch.no_grad():
        assert not decode_boxes(deltas, boxes).requires_grad


def test_compiled() -> None:
    boxes, deltas = random_boxes(10), torch.randn(10, 8)
    compiled = torch.compile(
        lambda d, b: encode_boxes(decode_boxes(d, b, WEIGHTS)[:, 0], b), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(deltas, boxes), encode_boxes(decode_boxes(deltas, boxes, WEIGHTS)[:, 0], boxes))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"decode_boxes: deltas must be \[N, C \* 4\]; got \[3, 5\]"):
        decode_boxes(torch.rand(3, 5), torch.rand(3, 4))
    with pytest.raises(ValueError, match=r"decode_boxes: boxes must be \[3, 4\]; got \[2, 4\]"):
        decode_boxes(torch.rand(3, 4), torch.rand(2, 4))
    for call in (encode_boxes, decode_boxes):
        message = rf"^{call.__name__}: weights must be four numbers; got \(1, 1, 1\)$"
        with pytest.raises(ValueError, match=message):
            call(torch.rand(3, 4), torch.rand(3, 4), (1, 1, 1))
    with pytest.raises(ValueError, match=r"^decode_boxes: image_size must be \(height, width\); got \(5,\)$"):
        decode_boxes(torch.rand(3, 4), torch.rand(3, 4), image_size=(5,))
    with pytest.raises(ValueError, match=r"encode_boxes: proposals must be \[N, 4\]; got \[3, 5\]"):
        encode_boxes(torch.rand(3, 4), torch.rand(3, 5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_torchvision(dtype: torch.dtype) -> None:
    pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    from torchvision.models.detection._utils import BoxCoder

    boxes, deltas = random_boxes(500, dtype=dtype), 5 * torch.randn(500, 12, dtype=dtype)
    peer = BoxCoder(WEIGHTS)
    expected = peer.decode(deltas, [boxes])
    assert torch.equal(decode_boxes(deltas.clone().requires_grad_(), boxes, WEIGHTS), expected)
    torch.testing.assert_close(decode_boxes(deltas, boxes, WEIGHTS), expected, rtol=1e-6, atol=KERNEL_TOLERANCE[dtype])
    assert torch.equal(encode_boxes(boxes.flip(0), boxes, WEIGHTS), peer.encode_single(boxes.flip(0), boxes))
