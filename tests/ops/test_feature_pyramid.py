"""FeaturePyramidNetwork and FrozenBatchNorm2d: their mathematics, their state_dict, torchvision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastmrcnn.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, LastLevelMaxPool


def backbone_features() -> dict[str, Tensor]:
    """Sides that are not multiples of each other: enlarging goes to a size, not by a factor."""
    return {"c3": torch.randn(2, 4, 13, 18), "c4": torch.randn(2, 6, 7, 9), "c5": torch.randn(2, 8, 4, 5)}


def test_a_level_is_the_sum_of_its_lateral_and_the_coarser_one() -> None:
    fpn, features = FeaturePyramidNetwork([4, 6, 8], 5), backbone_features()
    pyramid = fpn(features)
    assert list(pyramid) == ["c3", "c4", "c5"]
    inner = [block(feature) for block, feature in zip(fpn.inner_blocks, features.values(), strict=True)]
    coarse = inner[1] + nn.functional.interpolate(inner[2], size=(7, 9), mode="nearest")
    fine = inner[0] + nn.functional.interpolate(coarse, size=(13, 18), mode="nearest")
    for level, block, merged in zip(pyramid.values(), fpn.layer_blocks, (fine, coarse, inner[2]), strict=True):
        torch.testing.assert_close(level, block(merged))


def test_the_extra_level_takes_every_second_pixel() -> None:
    pyramid = FeaturePyramidNetwork([4, 6, 8], 5, LastLevelMaxPool())(backbone_features())
    assert list(pyramid) == ["c3", "c4", "c5", "pool"]
    assert torch.equal(pyramid["pool"], pyramid["c5"][:, :, ::2, ::2])


def test_initial_parameters() -> None:
    fpn = FeaturePyramidNetwork([4], 500)
    bound = (3 / 4) ** 0.5  # uniform, variance 1 / fan in
    weight = fpn.inner_blocks[0][0].weight
    assert 0.95 * bound < weight.abs().max().item() <= bound
    assert not fpn.inner_blocks[0][0].bias.any()
    normalised = FeaturePyramidNetwork([4], 8, norm_layer=nn.BatchNorm2d)
    assert list(normalised.state_dict())[:2] == ["inner_blocks.0.0.weight", "inner_blocks.0.1.weight"]


def test_older_files_load() -> None:
    fpn = FeaturePyramidNetwork([4, 6, 8], 5)
    old = {
        key.replace(".0.weight", ".weight").replace(".0.bias", ".bias"): value
        for key, value in fpn.state_dict().items()
    }
    assert "inner_blocks.2.weight" in old
    other = nn.ModuleDict({"fpn": FeaturePyramidNetwork([4, 6, 8], 5)})
    other.load_state_dict({f"fpn.{key}": value for key, value in old.items()})
    for key, value in other["fpn"].state_dict().items():
        assert torch.equal(value, fpn.state_dict()[key])


def test_fpn_errors() -> None:
    with pytest.raises(ValueError, match=r"^FeaturePyramidNetwork: in_channels_list must be positive; got \[4, 0\]$"):
        FeaturePyramidNetwork([4, 0], 5)


@pytest.mark.parametrize("norm_layer", [None, nn.BatchNorm2d])
@pytest.mark.parametrize("extra", [False, True])
def test_fpn_equals_torchvision(extra: bool, norm_layer: type[nn.Module] | None) -> None:
    torchvision = pytest.importorskip("torchvision", reason="the peer is not installed")
    peer = torchvision.ops.feature_pyramid_network
    theirs = peer.FeaturePyramidNetwork([4, 6, 8], 5, peer.LastLevelMaxPool() if extra else None, norm_layer)
    ours = FeaturePyramidNetwork([4, 6, 8], 5, LastLevelMaxPool() if extra else None, norm_layer)
    ours.load_state_dict(theirs.state_dict())
    features = backbone_features()
    expected, pyramid = theirs(features), ours(features)
    assert list(pyramid) == list(expected)
    for name, level in pyramid.items():
        torch.testing.assert_close(level, expected[name])


def random_norm(eps: float = 1e-5) -> FrozenBatchNorm2d:
    norm = FrozenBatchNorm2d(6, eps)
    for name, buffer in norm.named_buffers():
        buffer.copy_(torch.rand(6) if name == "running_var" else torch.randn(6))
    return norm


def test_frozen_batch_norm_is_batch_norm_in_eval_mode() -> None:
    frozen, trained = random_norm(1e-3), nn.BatchNorm2d(6, eps=1e-3).eval()
    trained.load_state_dict(frozen.state_dict(), strict=False)
    x = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(frozen(x), trained(x))
    frozen.train()
    torch.testing.assert_close(frozen(x), trained(x))
    scale, shift = frozen.scale_and_shift()
    torch.testing.assert_close(x * scale[:, None, None] + shift[:, None, None], trained(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frozen_batch_norm_overwrites_its_input_with_the_same(dtype: torch.dtype) -> None:
    """bfloat16 as autocast has it, beside statistics in float32: computed in float32 and rounded once."""
    norm, leaf = random_norm(), torch.randn(2, 6, 5, 4, dtype=dtype, requires_grad=True)
    written, expected = norm.overwrite(leaf * 2), norm(leaf * 2)
    assert written.dtype == expected.dtype == dtype
    assert torch.equal(written, expected)
    exact = norm((leaf * 2).float()).to(dtype)
    torch.testing.assert_close(written, exact)
    found, wanted = (torch.autograd.grad(y.float().square().sum(), leaf)[0] for y in (written, exact))
    torch.testing.assert_close(found, wanted)


def test_frozen_batch_norm_has_nothing_to_learn() -> None:
    norm = random_norm()
    assert not list(norm.parameters())
    assert sorted(norm.state_dict()) == ["bias", "running_mean", "running_var", "weight"]
    norm.load_state_dict(nn.BatchNorm2d(6).state_dict())  # with num_batches_tracked
    assert repr(norm) == "FrozenBatchNorm2d(6, eps=1e-05)"


def test_frozen_batch_norm_equals_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision", reason="the peer is not installed")
    ours, theirs, x = random_norm(0.0), torchvision.ops.FrozenBatchNorm2d(6, 0.0), torch.randn(2, 6, 5, 4)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), theirs(x))
    assert repr(ours) == repr(theirs)
