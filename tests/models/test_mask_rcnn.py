"""The assembled network: its interface, degenerate inputs, determinism, and that it learns."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.sampling import Sample
from fastmrcnn.ops import InstanceMasks
from fastmrcnn.structures import Detections
from tests.models.small import images_of, small_config, small_model, target_of

LOSSES = {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
SIZES = ((64, 96), (50, 64))


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = images_of(*SIZES)
    return images, [
        target_of(images[0], [[10, 10, 50, 40], [30, 20, 90, 60]], [1, 2]),
        target_of(images[1], [[5, 8, 30, 44]], [2]),
    ]


def backward(losses: dict[str, Tensor]) -> None:
    torch.stack(list(losses.values())).sum().backward()


def test_training_gives_five_losses_and_a_gradient_for_every_parameter() -> None:
    model = small_model().train()
    losses = model(*batch())
    assert set(losses) == LOSSES
    assert all(loss.ndim == 0 and loss.isfinite() and loss > 0 for loss in losses.values())
    backward(losses)
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("min_size", [64, 80])
def test_masks_as_run_lengths_or_polygons_give_the_losses_of_the_bitmaps(min_size: int) -> None:
    """Rectangles on whole pixels: as polygons they are the same pixels, and about the same when resized."""
    images, targets = batch()
    model = small_model(input={"min_size": min_size, "max_size": 160, "enlarge": True}).train()

    def losses(masks: list[Any]) -> dict[str, Tensor]:
        torch.manual_seed(1)
        given = [{**target, "masks": mask} for target, mask in zip(targets, masks, strict=True)]
        return model(images, given)

    polygons = []
    for target, image in zip(targets, images, strict=True):
        corners = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in target["boxes"].tolist()]
        polygons.append(InstanceMasks.from_coco(corners, *image.shape[-2:]))
    expected = losses([target["masks"] for target in targets])
    found = losses([masks.to_runs() for masks in polygons])
    assert all(torch.equal(found[name], expected[name]) for name in LOSSES)
    torch.testing.assert_close(losses(polygons), expected, rtol=0.01, atol=0)


def test_evaluation_gives_detections_in_original_pixels() -> None:
    model = small_model(input={"min_size": 96, "max_size": 160, "enlarge": True}, box_head={"score_threshold": 0.0})
    images = images_of(*SIZES)
    with torch.no_grad():
        found = model.eval()(images)
    for detections, image in zip(found, images, strict=True):
        height, width = image.shape[-2:]
        assert isinstance(detections, Detections)
        assert len(detections) == 100
        assert detections.image_size == (height, width)
        assert detections.mask_probs.shape == (100, 28, 28)
        assert (detections.scores.diff() <= 0).all()
        assert set(detections.labels.tolist()) <= {0, 1}
        x, y = detections.boxes[:, 0::2], detections.boxes[:, 1::2]
        assert x.min() >= 0
        assert x.max() <= width + 1e-3
        assert y.min() >= 0
        assert y.max() <= height + 1e-3
        assert x.max() > 0.8 * width  # not in the resized image's pixels


@pytest.mark.parametrize("norm", ["bn", "gn"])
@pytest.mark.parametrize("objects", [(0, 0), (0, 1)])
def test_images_without_objects(objects: tuple[int, int], norm: str) -> None:
    images, targets = batch()
    model = small_model(backbone={"norm": norm}, mask_head={"norm": "gn" if norm == "gn" else "none"}).train()
    targets = [{key: value[:count] for key, value in t.items()} for t, count in zip(targets, objects, strict=True)]
    losses = model(images, targets)
    assert all(loss.isfinite() for loss in losses.values())
    if sum(objects) == 0:
        assert losses["loss_mask"] == losses["loss_box_reg"] == losses["loss_rpn_box_reg"] == 0
    backward(losses)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_no_proposals() -> None:
    impossible: dict[str, dict[str, Any]] = {"rpn": {"min_box_size": 1e6}}
    images, targets = batch()
    model = small_model(**impossible)
    losses = model.train()(images, targets)  # the objects themselves remain to learn from
    assert all(loss.isfinite() for loss in losses.values())
    nothing = [{key: value[:0] for key, value in target.items()} for target in targets]
    backward(model(images, nothing))
    with torch.no_grad():
        found = model.eval()(images)
    assert [len(detections) for detections in found] == [0, 0]
    assert found[0].masks.shape == (0, 64, 96)


def test_no_detections() -> None:
    model = small_model(box_head={"score_threshold": 1.0}).eval()
    with torch.no_grad():
        found = model(images_of(*SIZES))
    assert [len(detections) for detections in found] == [0, 0]
    assert found[1].mask_probs.shape == (0, 28, 28)


def test_a_one_pixel_mask_trains() -> None:
    ops = pytest.importorskip("fastmrcnn.ops")
    images, targets = batch()
    speck = torch.zeros(1, 64, 96, dtype=torch.uint8)
    speck[0, 20, 30] = 1
    targets[0] = {"boxes": ops.masks_to_boxes(speck), "labels": torch.tensor([1]), "masks": speck}
    losses = small_model().train()(images, targets)
    assert all(loss.isfinite() for loss in losses.values())


def test_the_company_in_a_batch_changes_little() -> None:
    """Padding is not seen: an image gives nearly the same features beside a larger one."""
    model = small_model().eval()
    small, large = images_of((64, 64), (96, 96))
    with torch.no_grad():
        alone = model.backbone(model.transform([small]).pixels)[0]
        together = model.backbone(model.transform([small, large]).pixels)[0]
    torch.testing.assert_close(together[:1, :, :8, :8], alone[:, :, :8, :8])


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_memory_layout_is_configured_and_changes_nothing_else(channels_last: bool) -> None:
    torch.manual_seed(0)
    model = MaskRCNN(dataclasses.replace(small_config(), channels_last=channels_last)).eval()
    kernel = model.backbone.stages[0][0].conv1.conv.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last) == channels_last
    pixels = model.transform(images_of(*SIZES)).pixels
    with torch.no_grad():
        for level, expected in zip(model.backbone(pixels), small_model().eval().backbone(pixels), strict=True):
            torch.testing.assert_close(level, expected)


def test_the_seed_fixes_a_training_step() -> None:
    images, targets = batch()
    model = small_model(rpn={"samples": 16}, box_head={"samples": 8}).train()
    torch.manual_seed(9)
    first = model(images, targets)
    other = model(images, targets)
    torch.manual_seed(9)
    again = model(images, targets)
    assert first == again
    assert first["loss_objectness"] != other["loss_objectness"]


def test_the_samplers_can_be_replaced() -> None:
    def first_ones(labels: Tensor, count: int, positive_fraction: float, _: torch.Generator | None) -> Sample:
        return Sample.of(torch.where(labels >= 1)[0][:3], torch.where(labels == 0)[0][:5])

    model = small_model().train()
    model.rpn.sampler = first_ones
    model.roi_heads.sampler = first_ones
    images, targets = batch()
    assert model(images, targets) == model(images, targets)


def test_bytes_and_floats_give_the_same_losses() -> None:
    images, targets = batch()
    model = small_model().train()
    as_bytes = [(image * 255).round().to(torch.uint8) for image in images]
    torch.manual_seed(9)
    first = model(as_bytes, targets)
    torch.manual_seed(9)
    second = model([image.float() / 255 for image in as_bytes], targets)
    assert first == second


def test_mixed_precision_trains() -> None:
    model = small_model().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(*batch())
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    backward(losses)


def changed(key: str, value: Any) -> Any:
    images, targets = batch()
    return images, [targets[0] | {key: value}, targets[1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: ([], []), "MaskRCNN: images must hold at least one image; got none"),
        (lambda: ([torch.rand(64, 96)], []), "MaskRCNN: images[0] must be [3, H, W]; got [64, 96]"),
        (lambda: ([torch.rand(3, 0, 96)], []), "MaskRCNN: images[0] must be [3, H, W]; got [3, 0, 96]"),
        (lambda: ([torch.ones(3, 9, 9).int()], []), "images[0] must be float in 0..1 or uint8; got torch.int32"),
        (
            lambda: (batch()[0], None),
            "MaskRCNN: targets are needed in training mode (call .eval() to detect); got None",
        ),
        (lambda: (batch()[0], []), "MaskRCNN: targets must match the 2 images; got 0"),
        (lambda: (batch()[0], [{}, {}]), "MaskRCNN: targets[0] must hold boxes, labels and masks; got []"),
        (
            lambda: changed("boxes", torch.zeros(2, 5)),
            "targets[0]: boxes must be [M, 4] float; got [2, 5] torch.float32",
        ),
        (lambda: changed("boxes", torch.ones(2, 4).int()), "boxes must be [M, 4] float; got [2, 4] torch.int32"),
        (lambda: changed("labels", torch.ones(3).long()), "targets[0]: labels must be [2] int64; got [3] torch.int64"),
        (lambda: changed("labels", torch.tensor([0, 2])), "targets[0]: labels must lie in 1..2; got 0..2"),
        (lambda: changed("labels", torch.tensor([1, 3])), "targets[0]: labels must lie in 1..2; got 1..3"),
        (
            lambda: changed("masks", InstanceMasks.from_coco([], 64, 96)),
            "masks must be [2, 64, 96] uint8 or bool; got [0, 64, 96]",
        ),
        (lambda: changed("masks", torch.zeros(2, 9, 9)), "masks must be [2, 64, 96] uint8 or bool; got [2, 9, 9]"),
        (
            lambda: changed("boxes", torch.tensor([[1.0, 1, 9, 9], [5, 5, 4, 9]])),
            "targets[0]: boxes must be finite with x1 <= x2 and y1 <= y2; got [5.0, 5.0, 4.0, 9.0]",
        ),
        (
            lambda: changed("boxes", torch.tensor([[float("nan"), 1, 9, 9], [1, 1, 9, 9]])),
            "targets[0]: boxes must be finite with x1 <= x2 and y1 <= y2; got [nan, 1.0, 9.0, 9.0]",
        ),
        (
            lambda: changed("boxes", torch.tensor([[1, 1, float("inf"), 9], [1, 1, 9, 9]])),
            "targets[0]: boxes must be finite with x1 <= x2 and y1 <= y2; got [1.0, 1.0, inf, 9.0]",
        ),
        (
            lambda: changed("ignore", torch.zeros(4)),
            "targets[0]: ignore must be [R, 4] float; got [4] torch.float32",
        ),
        (
            lambda: changed("ignore", torch.tensor([[5.0, 5, 4, 9]])),
            "targets[0]: ignore must be finite with x1 <= x2 and y1 <= y2; got [5.0, 5.0, 4.0, 9.0]",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, message: str) -> None:
    model = small_model().train()
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        model(*arguments())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_it_learns_an_image_by_heart() -> None:
    image = torch.full((3, 64, 64), 0.5)
    target = target_of(image, [[8, 10, 30, 34], [32, 30, 60, 58]], [1, 2])
    image[0, 10:34, 8:30] = 1.0
    image[2, 30:58, 32:60] = 1.0
    model = small_model(
        backbone={"norm": "gn", "width": 16},
        fpn={"channels": 16},
        rpn={"pre_nms_train": 100, "post_nms_train": 60},
        box_head={"hidden": 32, "samples": 64},  # 60 proposals and 2 objects: only positives are drawn
        mask_head={"channels": 16},
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for step in range(200):
        if step == 150:
            optimizer.param_groups[0]["lr"] = 5e-4  # settle
        losses = model([image], [target])
        optimizer.zero_grad()
        backward(losses)
        optimizer.step()
    found = model.predict(image)
    for label in (0, 1):
        best = found[found.labels == label][0]
        assert best.scores.item() > 0.8
        torch.testing.assert_close(best.boxes[0], target["boxes"][label], atol=4.0, rtol=0)
        mask, truth = best.masks[0], target["masks"][label].bool()
        assert (mask & truth).sum() / (mask | truth).sum() > 0.75
