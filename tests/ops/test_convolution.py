"""Winograd's filtering and the deconvolution as a product: torch's results and gradients, and who computes what."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn import _C
from fastmrcnn.ops import convolution
from fastmrcnn.ops.convolution import conv3x3, deconv2x2

RELATIVE = 1e-5  # of the norm; the filtering errs by 2e-6, forward and backward
SHAPES = [(2, 64, 37, 41), (1, 80, 3, 300), (70, 64, 1, 1), (5, 96, 14, 14)]  # N, C, H, W; some beyond one run of tiles


def operands(shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weights and bias of a convolution."""
    input = torch.randn(shape).to(memory_format=torch.channels_last)
    weight = torch.randn(outputs, shape[1], 3, 3) / (3 * shape[1] ** 0.5)
    return input.requires_grad_(), weight.requires_grad_(), torch.randn(outputs, requires_grad=True)


def is_filtered(output: Tensor) -> bool:
    """Whether Winograd's filtering computed it."""
    return type(output.grad_fn).__name__ == "_WinogradBackward"


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).norm() <= RELATIVE * expected.norm()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("biased", [True, False])
def test_output_and_gradients_are_those_of_a_convolution_in_float64(shape: tuple[int, ...], biased: bool) -> None:
    leaves = operands(shape, outputs=112)[: 3 if biased else 2]
    output = conv3x3(*leaves)
    assert is_filtered(output)
    assert output.is_contiguous(memory_format=torch.channels_last)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    expected = F.conv2d(*exact, padding=1)
    assert_near(output, expected)
    gradient = torch.randn(expected.shape)  # not channels-last, as a caller's may be
    found = torch.autograd.grad(output, leaves, gradient)
    for own, right in zip(found, torch.autograd.grad(expected, exact, gradient.double()), strict=True):
        assert_near(own, right)


def test_only_the_gradients_that_are_wanted_are_computed() -> None:
    input, weight, bias = operands(SHAPES[0], outputs=64)
    for wanted in itertools.product([True, False], repeat=3):
        leaves = [leaf.detach().requires_grad_(own) for leaf, own in zip((input, weight, bias), wanted, strict=True)]
        output = conv3x3(*leaves)
        assert is_filtered(output) == any(wanted)
        if any(wanted):
            output.sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == list(wanted)


def test_runs_of_tiles_and_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = operands((3, 64, 30, 30), outputs=64)
    whole = conv3x3(*leaves)
    monkeypatch.setattr(convolution, "MOST_TILES", 17)
    parts = conv3x3(*leaves)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
    for part, expected in zip(*(torch.autograd.grad(y.square().sum(), leaves) for y in (parts, whole)), strict=True):
        assert_near(part, expected)


def transform_matrices() -> tuple[np.ndarray, np.ndarray]:
    """Of the input, [6, 6], and of the output, [4, 6], from their definition: the points of polynomials."""
    points = [0, 1, -1, 0.5, -2]
    powers = np.array([[point**power for power in range(6)] for point in points] + [[0] * 5 + [1]])
    differences = [np.prod([a - b for b in points if b != a]) for a in points] + [1.0]
    to_points = np.linalg.inv(powers).T * np.array(differences)[:, None]
    return to_points, np.column_stack([powers[:, :3], [*powers[:5, 3], 1]]).T


def tiles_of(map: np.ndarray, border: int) -> np.ndarray:
    """[N, H, W, C] -> [tiles, 4 + 2 * border, 4 + 2 * border, C], with zeros beyond the map; by loops."""
    _, height, width, _ = map.shape
    padded = np.pad(map, ((0, 0), (border, border + 3), (border, border + 3), (0, 0)))
    side = 4 + 2 * border
    return np.stack(
        [image[y : y + side, x : x + side] for image in padded for y in range(0, height, 4) for x in range(0, width, 4)]
    )


def test_the_native_transforms_are_their_definition() -> None:
    generator = np.random.default_rng(0)
    map = generator.standard_normal((2, 6, 9, 32), np.float32)
    as_nchw = map.transpose(0, 3, 1, 2)
    to_points, to_pixels = transform_matrices()
    found, first, count = np.empty((36, 7, 32), np.float32), 3, 7
    _C.winograd_input((2, 0), as_nchw, first, found)
    expected = np.einsum("py,qx,tyxc->pqtc", to_points, to_points, tiles_of(map, 1)[first : first + count])
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5)
    _C.winograd_gradient((2, 0), as_nchw, first, found)
    expected = np.einsum("yp,xq,tyxc->pqtc", to_pixels, to_pixels, tiles_of(map, 0)[first : first + count])
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-4)
    products, bias = generator.standard_normal((36, 12, 32), np.float32), generator.standard_normal(32, np.float32)
    _C.winograd_output((2, 0), products, bias, 0, as_nchw)
    expected = np.einsum("yp,xq,pqtc->tyxc", to_pixels, to_pixels, products.reshape(6, 6, 12, 32)) + bias
    inside = tiles_of(np.ones_like(map), 0) > 0
    np.testing.assert_allclose(tiles_of(map, 0)[inside], expected[inside], atol=1e-4)


def test_what_torch_computes_is_left_to_torch() -> None:
    input, weight, bias = operands(SHAPES[0], outputs=64)
    assert is_filtered(conv3x3(input, weight, bias))
    with torch.no_grad():  # inference keeps the bits of a direct convolution
        assert torch.equal(conv3x3(input, weight, bias), F.conv2d(input, weight, bias, padding=1))
    for others in (
        (input.double(), weight.double(), bias.double()),
        (input.bfloat16(), weight.bfloat16(), bias.bfloat16()),
        (input.contiguous(), weight, bias),
        (input[:, :, :8, :8], weight, bias),  # few tiles
        (input[:, :32].contiguous(memory_format=torch.channels_last), weight[:, :32], bias),
        (input, weight[:60], bias[:60]),  # lanes would be left over
    ):
        output = conv3x3(*others)
        assert not is_filtered(output)
        assert torch.equal(output, F.conv2d(*others, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv3x3(input, weight, bias).dtype == torch.bfloat16


def test_the_compiler_sees_a_plain_convolution() -> None:
    leaves = operands(SHAPES[0], outputs=64)
    compiled = torch.compile(conv3x3, fullgraph=True, backend="eager")
    assert not is_filtered(compiled(*leaves))


def test_channels_that_do_not_fit_get_the_message_of_torch() -> None:
    input = operands(SHAPES[0], outputs=64)[0]
    with pytest.raises(RuntimeError, match="to have 80 channels, but got 64 channels"):
        conv3x3(input, torch.zeros(64, 80, 3, 3))


@pytest.mark.parametrize(
    ("map", "tiles", "first", "message"),
    [
        (np.zeros((1, 16, 4, 4), np.float32), (36, 1, 16), 0, "input must be channels-last"),
        (np.zeros((1, 4, 4, 8), np.float32).transpose(0, 3, 1, 2), (36, 1, 8), 0, r"a multiple of 16 channels"),
        (
            np.zeros((1, 4, 4, 16), np.float64).transpose(0, 3, 1, 2),
            (36, 1, 16),
            0,
            "input must be float32; got float64",
        ),
        (np.zeros((1, 4, 4, 16), np.float32).transpose(0, 3, 1, 2), (36, 1, 32), 0, r"tiles must be \[36, T, C\]"),
        (
            np.zeros((1, 4, 4, 16), np.float32).transpose(0, 3, 1, 2),
            (36, 2, 16),
            0,
            "tiles 0 to 2 must be among the map's 1",
        ),
        (np.zeros((1, 4, 4, 16), np.float32).transpose(0, 3, 1, 2), (36, 1, 16), -1, "tiles -1 to 0 must be among"),
    ],
)
def test_what_the_transforms_refuse(map: np.ndarray, tiles: tuple[int, ...], first: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^winograd_input: .*{message}"):
        _C.winograd_input((1, 0), map, first, np.empty(tiles, np.float32))


def test_a_bias_of_another_length_is_refused() -> None:
    output = np.zeros((1, 4, 4, 16), np.float32).transpose(0, 3, 1, 2)
    with pytest.raises(ValueError, match=r"^winograd_output: bias must be \[C\] with C that of output; got \[8\]$"):
        _C.winograd_output((1, 0), np.zeros((36, 1, 16), np.float32), np.zeros(8, np.float32), 0, output)


@pytest.mark.parametrize("biased", [True, False])
def test_the_deconvolution_and_its_gradients_are_torchs(biased: bool) -> None:
    input = torch.randn(3, 8, 5, 6).to(memory_format=torch.channels_last).requires_grad_()
    leaves = [input, torch.randn(8, 7, 2, 2, requires_grad=True), torch.randn(7, requires_grad=True)][
        : 3 if biased else 2
    ]
    output, expected = deconv2x2(*leaves), F.conv_transpose2d(*leaves, stride=2)
    torch.testing.assert_close(output, expected)
    assert output.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(output)
    for found, right in zip(*(torch.autograd.grad(y, leaves, gradient) for y in (output, expected)), strict=True):
        torch.testing.assert_close(found, right)
