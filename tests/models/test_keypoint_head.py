"""The keypoint head: targets and loss against numpy and torchvision, and a network that has one."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.models import FixedCapacityDetector, KeypointHeadConfig, MaskRCNN, PaddedInstances, PoolerConfig, padding
from fastmrcnn.models.keypoint_head import KeypointHead, keypoint_cells
from fastmrcnn.models.losses import keypoint_loss
from tests.models.no_waiting import imagined_gpu, no_waiting
from tests.models.small import images_of, small_config, target_of

NAMES = ("head", "left_foot", "right_foot")
HEAD = KeypointHeadConfig(NAMES, pooler=PoolerConfig(14, sampling_ratio=2, canonical_scale=112), channels=8)
SIZES = ((64, 96), (50, 64))
INSTANCES = [[10, 10, 50, 40], [30, 20, 90, 60]]


def keypoint_model(*, masks: bool = False, head: KeypointHeadConfig = HEAD, **changes: Any) -> MaskRCNN:
    torch.manual_seed(0)
    config = small_config(**changes)
    config = dataclasses.replace(config, keypoint_head=head, mask_head=config.mask_head if masks else None)
    return MaskRCNN(config)


def target_with_keypoints(image: Tensor, boxes: list[list[int]]) -> dict[str, Tensor]:
    """The middle of the upper side, and the lower corners a little inside; the right one is not labelled."""
    target = target_of(image, boxes, [1] * len(boxes))
    x1, y1, x2, y2 = target["boxes"].unbind(dim=1)
    places = torch.stack([(x1 + x2) / 2, y1, x1 + 2, y2 - 2, x2 - 2, y2 - 2], dim=1).reshape(-1, 3, 2)
    visibility = torch.tensor([2.0, 1.0, 0.0])[:, None].expand(len(boxes), 3, 1)
    return target | {"keypoints": torch.cat([places, visibility], dim=2)}


def training_batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """One image with people and one without."""
    images = images_of(*SIZES)
    return images, [target_with_keypoints(images[0], INSTANCES), target_with_keypoints(images[1], [])]


# Targets


def cells_by_hand(keypoints: Tensor, boxes: Tensor, size: int) -> list[list[int]]:
    """Heckbert (1990): continuous coordinates to cells by rounding down; the far edge belongs to the last cell."""
    cells = []
    for points, (x1, y1, x2, y2) in zip(keypoints.double().numpy(), boxes.double().numpy(), strict=True):
        row = []
        for x, y, visibility in points:
            column = size - 1 if x == x2 else math.floor((x - x1) * size / (x2 - x1))
            line = size - 1 if y == y2 else math.floor((y - y1) * size / (y2 - y1))
            inside = 0 <= column < size and 0 <= line < size and visibility > 0
            row.append(line * size + column if inside else -1)
        cells.append(row)
    return cells


def some_keypoints() -> tuple[Tensor, Tensor]:
    """Keypoints in, on and around boxes whose sides are multiples of a heatmap's, so that nothing is rounded."""
    corner = torch.randint(0, 40, (60, 2)).double()
    boxes = torch.cat([corner, corner + 7 * torch.randint(1, 5, (60, 2))], dim=1)
    span = torch.cat([boxes, boxes], dim=1).reshape(60, 2, 4)[:, 0, 2:] - corner
    places = corner[:, None] + span[:, None] * torch.randint(-2, 11, (60, 9, 2)) / 8
    return torch.cat([places, torch.randint(0, 3, (60, 9, 1)).double()], dim=2), boxes


def test_cells_of_keypoints() -> None:
    keypoints, boxes = some_keypoints()
    cells = keypoint_cells(keypoints, boxes, 7)
    assert cells.tolist() == cells_by_hand(keypoints, boxes, 7)
    assert 0.2 < (cells >= 0).float().mean() < 0.8


def test_cells_are_torchvisions() -> None:
    pytest.importorskip("torchvision", reason="torchvision is the peer")
    from torchvision.models.detection.roi_heads import keypoints_to_heatmap

    keypoints, boxes = (tensor.float() for tensor in some_keypoints())
    boxes = boxes + torch.rand(60, 4) * torch.tensor([1.0, 1, 0, 0])
    keypoints = keypoints.repeat(1, 20, 1)
    keypoints[:, 9:, :2] += 3 * torch.randn(60, 171, 2)
    expected, valid = keypoints_to_heatmap(keypoints, boxes, 56)
    cells = keypoint_cells(keypoints, boxes, 56)
    assert torch.equal(cells >= 0, valid.bool())
    assert torch.equal(cells.clamp(min=0), expected)
    assert 0.2 < valid.float().mean() < 0.8


def test_odd_boxes_and_keypoints_have_no_cell() -> None:
    nan, inf = math.nan, math.inf
    boxes = torch.tensor([[3.0, 3, 3, 9], [nan, 3, 9, 9], [0, 0, inf, 9], [0, 0, 9, 9]])
    places = torch.tensor([[4.0, 4], [nan, 4], [inf, 4], [-inf, 4], [1e30, 4]]).expand(4, 5, 2)
    cells = keypoint_cells(torch.cat([places, torch.ones(4, 5, 1)], dim=2), boxes, 7)
    assert cells[3].tolist() == [3 * 7 + 3, -1, -1, -1, -1]
    assert (cells[:2] == -1).all()
    corner = torch.tensor([[[9.0, 9.0, 1.0], [0.0, 0.0, 1.0]]])
    assert keypoint_cells(corner, boxes[3:], 7).tolist() == [[48, 0]]


# Loss


def test_loss_against_numpy() -> None:
    logits, cells = 3 * torch.randn(5, 4, 6, 6), torch.randint(-1, 36, (5, 4))
    cells[0, 0] = -1
    rows = logits.double().numpy().reshape(20, 36)
    losses = [
        np.log(np.exp(row).sum()) - row[cell] for row, cell in zip(rows, cells.flatten(), strict=True) if cell >= 0
    ]
    assert keypoint_loss(logits, cells).item() == pytest.approx(np.mean(losses), rel=1e-6)


def test_loss_is_torchvisions() -> None:
    pytest.importorskip("torchvision", reason="torchvision is the peer")
    from torchvision.models.detection.roi_heads import keypointrcnn_loss

    keypoints, boxes = (tensor.float() for tensor in some_keypoints())
    logits, matched = torch.randn(60, 9, 14, 14), torch.arange(60)
    expected = keypointrcnn_loss(logits, [boxes], [keypoints], [matched])
    assert keypoint_loss(logits, keypoint_cells(keypoints, boxes, 14)).item() == pytest.approx(expected.item())


def test_gradient_of_the_loss() -> None:
    logits = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    cells = torch.tensor([[3, -1], [15, 0], [-1, -1]])
    assert torch.autograd.gradcheck(lambda x: keypoint_loss(x, cells), (logits,))
    [gradient] = torch.autograd.grad(keypoint_loss(logits, cells), logits)
    assert (gradient[cells < 0] == 0).all()


@pytest.mark.parametrize("rois", [0, 3])
def test_without_labelled_keypoints_the_loss_is_zero_and_attached(rois: int) -> None:
    logits = torch.randn(rois, 2, 4, 4, requires_grad=True)
    loss = keypoint_loss(logits, torch.full((rois, 2), -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


# The head


def test_heatmaps_are_torchvisions() -> None:
    pytest.importorskip("torchvision", reason="torchvision is the peer")
    from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor

    ours = KeypointHead(6, HEAD)
    theirs = torch.nn.Sequential(KeypointRCNNHeads(6, [8] * 8), KeypointRCNNPredictor(8, 3))
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    regions = torch.randn(4, 6, 14, 14)
    heatmaps = ours(regions)
    assert heatmaps.shape == (4, 3, 56, 56)
    torch.testing.assert_close(heatmaps, theirs(regions))


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_the_score_is_that_of_the_configuration(score: str) -> None:
    head = KeypointHead(6, dataclasses.replace(HEAD, score=score))  # type: ignore[arg-type]
    logits = torch.zeros(1, 3, 56, 56)
    logits[0, 1, 28, 14] = 9
    found = head.keypoints(logits, torch.tensor([[100.0, 50, 156, 106]]))[0, 1].tolist()
    expected = math.exp(9) / (math.exp(9) + 56 * 56 - 1) if score == "probability" else 9
    assert found == pytest.approx([114.5, 78.5, expected])


# The network


@pytest.mark.parametrize("masks", [False, True])
def test_one_step_reaches_every_parameter(masks: bool) -> None:
    model = keypoint_model(masks=masks).train()
    losses = model(*training_batch())
    assert ("loss_mask" in losses) == masks
    assert losses["loss_keypoint"].item() == pytest.approx(math.log(56 * 56), rel=0.2)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    gradient = model.roi_heads.keypoint_head.upsample.weight.grad
    assert gradient[:, :2].abs().sum() > 0
    assert gradient[:, 2].abs().sum() == 0  # nobody labels the right foot


def test_keypoints_follow_the_resized_image() -> None:
    model = keypoint_model(input={"min_size": 96, "max_size": 160, "enlarge": True})
    images, targets = training_batch()
    batch = model.transform(images)
    [first, *_] = model.transform.targets(targets, batch)
    assert batch.sizes[0] == (96, 144)
    torch.testing.assert_close(first.keypoints[..., :2], 1.5 * targets[0]["keypoints"][..., :2])
    assert torch.equal(first.keypoints[..., 2], targets[0]["keypoints"][..., 2])


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        (torch.zeros(1, 3, 2), r"keypoints must be \[1, 3, 3\] float; got \[1, 3, 2\] torch.float32"),
        (torch.zeros(2, 3, 3), r"keypoints must be \[1, 3, 3\] float; got \[2, 3, 3\] torch.float32"),
        (torch.zeros(1, 17, 3), r"keypoints must be \[1, 3, 3\] float; got \[1, 17, 3\] torch.float32"),
        (torch.zeros(1, 3, 3).long(), r"keypoints must be \[1, 3, 3\] float; got \[1, 3, 3\] torch.int64"),
    ],
)
def test_keypoints_of_targets_are_checked(keypoints: Tensor, message: str) -> None:
    [image] = images_of((64, 64))
    target = target_of(image, [[5, 5, 40, 40]], [1])
    model = keypoint_model().train()
    with pytest.raises(ValueError, match=rf"^MaskRCNN: targets\[0\]: {message}$"):
        model([image], [target | {"keypoints": keypoints}])
    message = r"^MaskRCNN: targets\[0\] must hold boxes, labels and keypoints; got \['boxes', 'labels', 'masks'\]$"
    with pytest.raises(ValueError, match=message):
        model([image], [target])


def detecting_model(**changes: Any) -> MaskRCNN:
    model = keypoint_model(
        input={"min_size": 96, "max_size": 160, "enlarge": True},
        rpn={"post_nms_test": 60},
        box_head={"hidden": 16, "score_threshold": 0.4, "nms_iou": 0.3, "detections": 20},
        **changes,
    )
    with torch.no_grad():
        for layer, gain in (
            (model.rpn.head.objectness, 50),
            (model.roi_heads.box_head.classifier, 30),
            (model.roi_heads.box_head.deltas, 300),
            (model.roi_heads.keypoint_head.upsample, 30),
        ):
            layer.weight.mul_(gain)
    return model.eval()


def test_detections_hold_keypoints() -> None:
    model, images = detecting_model(), images_of(*SIZES)
    with torch.no_grad():
        padded, found = model.detect_padded(images), model(images)
    assert padded.keypoints.shape == (2, 20, 3, 3)
    for index, detections in enumerate(found):
        count = len(detections)
        assert 0 < count < 20
        assert detections.keypoint_names == NAMES
        assert detections.keypoint_offset == 0.5
        torch.testing.assert_close(padded.keypoints[index, :count], detections.keypoints, atol=1e-3, rtol=1e-3)
        assert (padded.keypoints[index, count:] == 0).all()
        corner, opposite = detections.boxes[:, None, :2], detections.boxes[:, None, 2:]
        places = detections.keypoints[..., :2]
        assert ((places >= corner - 1e-3) & (places <= opposite + 1e-3)).all()  # in pixels of the original images
        assert places.std(dim=0).min() > 1
        assert (detections.keypoints[..., 2] > 0).all()


@pytest.mark.filterwarnings("ignore")  # dynamo's own
@pytest.mark.parametrize("how", ["compiled", "exported"])
def test_compiled_and_exported(how: str) -> None:
    torch._dynamo.reset()
    model = detecting_model(masks=True)
    batch = model.transform(images_of(*SIZES))
    detector = FixedCapacityDetector(model)
    with torch.no_grad():
        expected = detector(batch.pixels, batch.image_sizes)
        if how == "compiled":
            other: Any = torch.compile(detector, fullgraph=True, backend="aot_eager")
        else:
            other = torch.export.export(detector, (batch.pixels, batch.image_sizes)).module()
        found = PaddedInstances(*other(batch.pixels, batch.image_sizes))
    assert expected.counts.min() > 0
    assert torch.equal(found.counts, expected.counts)
    torch.testing.assert_close(found.keypoints, expected.keypoints, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.mask_probs, expected.mask_probs, atol=1e-4, rtol=1e-4)


def test_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = detecting_model()
    with torch.no_grad(), no_waiting():
        model.detect_padded(images_of(*SIZES))
    model.train()
    images, targets = training_batch()
    batch = model.transform(images)
    objects = model.transform.targets(targets, batch)
    monkeypatch.setattr(padding, "reading_is_free", lambda _tensor: False)
    with no_waiting():
        features = model.features(batch.pixels)
        _, proposals = model.rpn(features, (batch.pixels.shape[-2], batch.pixels.shape[-1]), batch.image_sizes)
        losses = model.roi_heads.losses(features, proposals, objects)
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())


def test_on_an_imagined_gpu() -> None:
    """The samples have their full size there, and everything stays on the device."""
    images, targets = training_batch()
    with imagined_gpu():
        with torch.device("cuda"):
            model = keypoint_model(channels_last=False).eval()
        with torch.no_grad(), no_waiting():
            found = model.detect_padded(images)
        model.train()
        model.transform.eval()  # in training it draws a size: on the host, but what is imagined has no values
        with no_waiting():
            losses = model.losses(images, targets)
    assert found.keypoints.shape == (2, 100, 3, 3)
    assert found.keypoints.device.type == losses["loss_keypoint"].device.type == "cuda"


def test_empty_slots_change_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample of a GPU has slots of which some are empty; the CPU leaves them out."""
    model, (images, targets) = keypoint_model().train(), training_batch()
    batch = model.transform(images)
    objects = model.transform.targets(targets, batch)
    features = model.features(batch.pixels)
    _, proposals = model.rpn(features, (batch.pixels.shape[-2], batch.pixels.shape[-1]), batch.image_sizes)
    few = proposals._replace(counts=torch.tensor([2, 0]))
    expected = model.roi_heads.losses(features, few, objects)
    monkeypatch.setattr(padding, "reading_is_free", lambda _tensor: False)
    found = model.roi_heads.losses(features, few, objects)
    assert expected["loss_keypoint"] > 0
    torch.testing.assert_close(found["loss_keypoint"], expected["loss_keypoint"])


def test_a_network_learns_where_keypoints_are() -> None:
    """One image of one person, on the box itself: after some steps the keypoints that were labelled are found."""
    head = dataclasses.replace(HEAD, channels=16, convolutions=2)
    model = keypoint_model(head=head).train()
    [image] = images_of((64, 96))
    target = target_with_keypoints(image, [[20, 10, 76, 54]])
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(60):
        loss = model([image], [target])["loss_keypoint"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 4  # ln(56 * 56) = 8.05 is a guess
    with torch.no_grad():
        batch = model.eval().transform([image])
        rois = torch.cat([torch.zeros(1, 1), target["boxes"]], dim=1)
        regions = model.roi_heads.regions(model.features(batch.pixels), rois, head.pooler)
        heads = model.roi_heads.keypoint_head
        found = heads.keypoints(heads(regions), target["boxes"])[0, :2, :2]
    assert (found - target["keypoints"][0, :2, :2]).abs().max() < 6


def test_impossible_configurations_are_refused() -> None:
    for build, message in (
        (lambda: KeypointHeadConfig(("a", "a")), "KeypointHeadConfig: keypoint_names must differ, at least one"),
        (lambda: KeypointHeadConfig(()), "KeypointHeadConfig: keypoint_names must differ, at least one"),
        (lambda: KeypointHeadConfig(score="best"), "score must be probability or logit; got 'best'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=message):
            build()
