"""Every rule of Matterport's profile against its reference in plain numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils
from torch import Tensor

from fastmrcnn.models import (
    AnchorConfig,
    BackboneConfig,
    InputConfig,
    MaskRCNN,
    PoolerConfig,
    RPNConfig,
    padding,
)
from fastmrcnn.models.anchors import make_anchors
from fastmrcnn.models.box_frame import BoxFrame
from fastmrcnn.models.box_head import BoxHead, BoxPrediction
from fastmrcnn.models.crop_and_resize import levels_of
from fastmrcnn.models.pooling import pool_regions
from fastmrcnn.models.presets import matterport_resnet_fpn
from fastmrcnn.models.presets.matterport import at_least
from fastmrcnn.models.resampling import nearest_even_size, resize_with_zero_border
from fastmrcnn.models.rpn import RegionProposalNetwork, RPNPrediction
from fastmrcnn.models.transform import InputTransform
from fastmrcnn.ops import PaddedProposals, box_iou, paste_masks, paste_masks_rle
from tests.models import matterport_rules as rules
from tests.models.matterport_small import random_boxes, small_config, swapped
from tests.models.small import images_of, target_of

STRIDES = (4, 8, 16, 32, 64)
PIXELS = BoxFrame("pixels", side=128)


@pytest.mark.parametrize(
    ("height", "width"),
    [(480, 640), (640, 480), (100, 100), (900, 950), (2000, 1201), (1024, 799), (1024, 1025), (1, 3000), (801, 1024)],
)
def test_sizes(height: int, width: int) -> None:
    expected = rules.resized_size(height, width, 800, 1024)
    transform = InputTransform(matterport_resnet_fpn(["a"]).input).eval()
    assert transform.target_size(height, width) == tuple(max(side, 1) for side in expected)


def test_of_two_sizes_that_are_as_near_the_even_one_is_taken() -> None:
    assert nearest_even_size(1201, 2048, 4000, 1024) == (600, 1024)
    assert nearest_even_size(1203, 2048, 4000, 1024) == (602, 1024)


@pytest.mark.parametrize("size", [(37, 50), (20, 61), (40, 30), (13, 7), (1, 1)])
def test_resampling(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(20, 256, (20, 30, 3), dtype=np.uint8)
    resized = resize_with_zero_border(torch.from_numpy(image).permute(2, 0, 1), size).permute(1, 2, 0).numpy()
    expected = rules.resize(image, size).astype(np.uint8)
    # Whole numbers may come out a hair below themselves, and lose one to the cut.
    assert np.abs(resized.astype(int) - expected).max() <= 1
    assert (resized != expected).mean() < 0.01


def test_resampling_is_that_of_scikit_image() -> None:
    transform = pytest.importorskip("skimage.transform")
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for size in ((96, 128), (75, 100), (45, 60), (31, 77)):
        resized = resize_with_zero_border(torch.from_numpy(image).permute(2, 0, 1), size).permute(1, 2, 0).numpy()
        expected = transform.resize(
            image, size, order=1, mode="constant", preserve_range=True, anti_aliasing=False
        ).astype(np.uint8)
        assert np.abs(resized.astype(int) - expected).max() <= 1
        assert (resized != expected).mean() < 0.01


def test_images_lie_in_the_middle_of_black_squares() -> None:
    config = small_config().input
    images = [np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
              for seed, size in enumerate([(48, 60), (128, 97), (101, 128)])]  # fmt: skip
    batch = InputTransform(config).eval()([torch.from_numpy(image).permute(2, 0, 1) for image in images])
    origins = PIXELS.origins(batch.image_sizes)
    assert origins is not None
    for pixels, image, size, origin in zip(batch.pixels, images, batch.sizes, origins[:, 0, :2], strict=True):
        expected, window = rules.mould(image, 96, 128, np.array(config.mean))
        np.testing.assert_allclose(pixels.permute(1, 2, 0), expected, atol=1e-4)
        assert [*origin.flip(0), *(origin.flip(0) + torch.tensor(size))] == window.tolist()


def test_floats_are_taken_for_the_grey_values_that_they_stand_for() -> None:
    transform = InputTransform(small_config().input).eval()
    image = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8)
    assert torch.equal(transform([image]).pixels, transform([image / 255]).pixels)


def test_anchors() -> None:
    cells = [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    config = matterport_resnet_fpn(["a"]).rpn.anchors
    made = make_anchors([torch.zeros(1, 1, *size) for size in cells], STRIDES, (128, 128), config)
    for anchors, scale, size, stride in zip(made, (32, 64, 128, 256, 512), cells, STRIDES, strict=True):
        expected = rules.anchors_of_level(scale, [0.5, 1, 2], size, stride)
        np.testing.assert_allclose(swapped(anchors), expected, atol=1e-4)
        np.testing.assert_allclose(
            swapped(PIXELS.enter(anchors)) / 127, rules.normalise(expected, (128, 128)), atol=1e-6
        )


def test_proposals_of_all_levels_together() -> None:
    """Candidates and NMS know no levels; boxes of any growth are clipped to the frame, not to the image."""
    config = RPNConfig(
        anchors=AnchorConfig(sizes=((8,), (16,)), aspect_ratios=(2.0, 1.0, 0.5)), across_levels=True, delta_clip=None,
        pre_nms_test=200, post_nms_test=50, min_box_size=0.0, box_weights=(10.0, 10.0, 5.0, 5.0),
    )  # fmt: skip
    frame = BoxFrame("pixels", side=64)
    rpn = RegionProposalNetwork(4, (4, 8), config, frame).double().eval()
    features = [torch.zeros(1, 4, 16, 16).double(), torch.zeros(1, 4, 8, 8).double()]
    anchors = make_anchors(features, (4, 8), (64, 64), config.anchors)
    logits = [torch.randn(1, 3, 16, 16).double() * 3, torch.randn(1, 3, 8, 8).double() * 3]
    deltas = [torch.randn(1, 12, 16, 16).double() * 5, torch.randn(1, 12, 8, 8).double() * 5]
    deltas[0][:, 2] = 100.0  # e^20 times as wide
    limits = frame.proposal_limits(torch.tensor([[40, 64]]))
    assert limits.tolist() == [[63, 63]]
    found = rpn.propose(RPNPrediction(logits, deltas, anchors), limits)

    rows = [level[0].unflatten(0, (3, -1)).permute(2, 3, 0, 1).reshape(-1, 4) for level in deltas]
    boxes, scores = rules.propose(
        torch.cat([level[0].permute(1, 2, 0).flatten() for level in logits]).sigmoid().numpy(),
        torch.cat(rows)[:, [1, 0, 3, 2]].numpy(),
        rules.normalise(swapped(torch.cat(anchors)).numpy(), (64, 64)),
        before=200,
        after=50,
        threshold=0.7,
    )
    count = int(found.counts)
    assert count == len(boxes)
    np.testing.assert_allclose(swapped(found.boxes[0, :count]) / 63, boxes, atol=1e-6)
    np.testing.assert_allclose(found.scores[0, :count], scores, atol=1e-6)


def test_competing_objectness_is_a_softmax() -> None:
    config = dataclasses.replace(matterport_resnet_fpn(["a"]).rpn, channels=8)
    head = RegionProposalNetwork(4, STRIDES, config).head
    feature = torch.randn(2, 4, 5, 6)
    logits, deltas = head(feature)
    assert (logits.shape, deltas.shape) == ((2, 3, 5, 6), (2, 12, 5, 6))
    raw = head.objectness(torch.relu(head.convs[0](feature))).permute(0, 2, 3, 1).reshape(2, 5, 6, 3, 2)
    torch.testing.assert_close(logits.sigmoid().permute(0, 2, 3, 1), raw.softmax(dim=-1)[..., 1])


@pytest.mark.parametrize("frame", [(1024, 1024), (128, 192)])
def test_levels(frame: tuple[int, int]) -> None:
    boxes = np.concatenate([random_boxes(400, frame), [[0.2, 0.3, 0.2, 0.9], [0, 0, 1, 1]]])
    span = torch.tensor([frame[1] - 1, frame[0] - 1] * 2)
    config = PoolerConfig(method="crop_and_resize", nearest_level=True)
    levels = levels_of(swapped(boxes) * span, frame, STRIDES[:4], config) + 2
    assert levels.tolist() == [rules.level_of(box, frame) for box in boxes]
    assert set(levels.tolist()) >= ({2, 3, 4, 5} if frame == (1024, 1024) else {2, 3})
    assert levels_of(torch.full((1, 4), float("nan")), frame, STRIDES[:4], config).tolist() == [0]


@pytest.mark.parametrize("waiting", [True, False])
def test_crop_and_resize(waiting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "reading_is_free", lambda _tensor: waiting)
    frame = (128, 192)
    features = [torch.randn(2, 5, frame[0] // stride, frame[1] // stride).double() for stride in STRIDES]
    corners = [[0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], [0, 0.25, 0.75, 0.25], [0, 0, 0, 0], [1, 1, 1, 1]]
    boxes = [np.concatenate([random_boxes(20, frame, seed), corners]) for seed in (0, 1)]
    span = torch.tensor([frame[1] - 1, frame[0] - 1] * 2)
    rois = [swapped(own) * span for own in boxes]
    for config in (PoolerConfig(7, "crop_and_resize", nearest_level=True, canonical_scale=56),
                   PoolerConfig(14, "crop_and_resize", canonical_scale=56)):  # fmt: skip
        pooled = pool_regions(features, STRIDES, rois, config)
        levels = torch.cat([levels_of(own, frame, STRIDES[:4], config) for own in rois])
        assert len(set(levels.tolist())) >= 3
        expected = [
            rules.crop_and_resize(features[level][image].permute(1, 2, 0).numpy(), box, config.output_size)
            for level, (image, box) in zip(
                levels.tolist(), [(image, box) for image in (0, 1) for box in boxes[image]], strict=True
            )
        ]
        np.testing.assert_allclose(pooled.permute(0, 2, 3, 1), np.stack(expected), atol=1e-8)
    alone = pool_regions(features[:1], STRIDES[:1], rois, config)
    box, feature = boxes[1][0], features[0][1].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(alone[25].permute(1, 2, 0), rules.crop_and_resize(feature, box, 14), atol=1e-8)


@pytest.mark.parametrize("waiting", [True, False])
def test_crop_and_resize_passes_gradients_to_the_maps(waiting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "reading_is_free", lambda _tensor: waiting)
    features = [torch.randn(1, 2, 64 // stride, 64 // stride).double().requires_grad_() for stride in STRIDES[:3]]
    rois = [torch.tensor([[3.0, 5, 60, 63], [10, 2, 20, 30], [7, 7, 7, 7]]).double()]
    config = PoolerConfig(3, "crop_and_resize", nearest_level=True, canonical_scale=56)

    def pool(*maps: Tensor) -> Tensor:
        return pool_regions([*maps, maps[-1]], (*STRIDES[:3], 32), rois, config)

    assert torch.autograd.gradcheck(pool, features)


def test_only_the_likeliest_class_is_detected() -> None:
    config = matterport_resnet_fpn(["a", "b", "c"]).box_head
    assert config is not None
    config = dataclasses.replace(config, hidden=4, score_threshold=at_least(0.4), detections=15)
    head = BoxHead(2, 7, 3, config)
    logits, deltas = torch.randn(80, 4).double() * 1.5, torch.randn(80, 16).double()
    window = np.array([0.1, 0.0, 0.8, 1.0])
    rois = random_boxes(80, (128, 128))
    proposals = PaddedProposals(swapped(rois)[None] * 127, torch.ones(1, 80).double(), torch.tensor([80]))
    # The window's first pixel is the origin.
    origin = torch.tensor([0.0, 12.7, 0.0, 12.7]).double()
    limits = torch.tensor([[round(127 * 0.7), 127]])
    window[2] = window[0] + float(limits[0, 0]) / 127
    found = head.detect(
        BoxPrediction(logits, deltas), proposals._replace(boxes=proposals.boxes - origin), limits
    ).per_image()[0]
    expected = rules.select(
        rois,
        logits.softmax(dim=1).numpy(),
        deltas.unflatten(1, (4, 4))[..., [1, 0, 3, 2]].numpy(),
        window,
        confidence=0.4,
        threshold=0.3,
        most=15,
    )
    assert found[2].tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(swapped(found[0] + origin) / 127, [box for box, _, _ in expected], atol=1e-9)
    np.testing.assert_allclose(found[1], [score for _, _, score in expected], atol=1e-9)


def test_a_score_at_the_threshold_passes() -> None:
    for score in (0.5, 0.7, 0.9):
        below, exactly = np.nextafter(np.float32(score), np.float32(0)), np.float32(score)
        assert not below > np.float32(at_least(score))
        assert exactly > np.float32(at_least(score))


@pytest.mark.parametrize("least", [0.01, 0.5, 0.7])
def test_masks_fill_boxes_of_whole_pixels(least: float) -> None:
    """From a half on everywhere, a mask fills its box to the corners: scikit-image keeps to the mask's own range."""
    rng = np.random.default_rng(0)
    boxes = np.array([[3, 5, 40, 33], [0, 0, 50, 60], [10, 10, 11, 12], [20, 1, 25, 59], [7, 7, 50, 8]])
    masks = np.clip(rng.normal(0.6, 0.3, (len(boxes), 28, 28)), least, 0.99)
    expected = np.stack([rules.unmould_mask(mask, box, (50, 60)) for mask, box in zip(masks, boxes, strict=True)])
    if least >= 0.5:
        assert expected.sum() == sum((y2 - y1) * (x2 - x1) for y1, x1, y2, x2 in boxes)
    inputs = torch.from_numpy(masks), swapped(boxes), (50, 60)
    np.testing.assert_array_equal(paste_masks(*inputs, method="skimage"), expected)
    for run_lengths, bitmap in zip(paste_masks_rle(*inputs, method="skimage"), expected, strict=True):
        assert run_lengths["counts"] == mask_utils.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()


def test_masks_are_those_of_scikit_image() -> None:
    transform = pytest.importorskip("skimage.transform")
    for least in (0.01, 0.55):
        mask = np.clip(np.random.default_rng(1).normal(0.7, 0.3, (28, 28)), least, 0.99)
        for height, width in ((28, 28), (37, 61), (90, 12), (1, 5)):
            resized = transform.resize(mask, (height, width), order=1, mode="constant", anti_aliasing=False)
            box = torch.tensor([[0.0, 0, width, height]]).double()
            pasted = paste_masks(torch.from_numpy(mask)[None], box, (height, width), method="skimage")[0]
            np.testing.assert_array_equal(pasted, resized >= 0.5)


def test_a_training_step() -> None:
    torch.manual_seed(0)
    model = MaskRCNN(small_config())
    images = images_of((48, 64), (100, 70))
    targets = [target_of(images[0], [[10, 5, 40, 45]], [2]), target_of(images[1], [[0, 0, 30, 90]], [1])]
    losses = model.train()(images, targets)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.slow
def test_an_object_is_learned() -> None:
    """Proposals, samples, targets and masks agree about the coordinates: one image is soon known by heart."""
    torch.manual_seed(0)
    config = small_config()
    assert config.box_head is not None
    assert config.mask_head is not None
    config = dataclasses.replace(  # small, shallow and with batch statistics, to learn in seconds
        config,
        input=dataclasses.replace(config.input, min_size=64, max_size=64),
        backbone=BackboneConfig(depth=18, width=8, norm="bn"),
        box_head=dataclasses.replace(config.box_head, fully_connected_norm="none"),
        mask_head=dataclasses.replace(config.mask_head, norm="none"),
    )
    model = MaskRCNN(config)
    image = images_of((48, 64))[0] * 0.4
    image[:, 10:40, 12:56] += 0.6
    target = target_of(image, [[12, 10, 56, 40]], [1])
    optimiser = torch.optim.Adam(model.parameters())
    for step in range(250):
        optimiser.param_groups[0]["lr"] = 3e-3 if step < 200 else 3e-4
        optimiser.zero_grad()
        torch.stack(list(model([image], [target]).values())).sum().backward()
        optimiser.step()
    [found] = model.eval()([image])
    best = found[0]
    assert best.names == ["disc"]
    assert box_iou(best.boxes, target["boxes"]) > 0.8
    overlap = (best.masks[0] & target["masks"][0].bool()).sum() / (best.masks[0] | target["masks"][0].bool()).sum()
    assert overlap > 0.7


def test_refusals() -> None:
    with pytest.raises(ValueError, match="PoolerConfig: nearest_level needs crop_and_resize; got 'roi_align'"):
        PoolerConfig(nearest_level=True)
    with pytest.raises(ValueError, match="InputConfig: max_size must be a multiple of size_divisor 32 in a centred"):
        InputConfig(frame="centred_square", max_size=1000)
    with pytest.raises(ValueError, match="RPNConfig: objectness must be sigmoid or softmax; got 'both'"):
        RPNConfig(objectness="both")  # type: ignore[arg-type]
