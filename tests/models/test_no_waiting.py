"""Between images in and detections or losses out, the host waits for no GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.models import MaskRCNN, MaskRCNNConfig, padding
from fastmrcnn.ops import InstanceMasks, nms
from fastmrcnn.ops._sizes import sizes_tensor
from tests.models.no_waiting import Transformed, imagined_gpu, no_waiting
from tests.models.small import images_of, small_config, small_model, target_of

SIZES = ((64, 96), (50, 64))
LOSSES = {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
VALUES = torch.tensor([3.0, -1.0, 2.0])
BOXES = torch.tensor([[0.0, 0, 9, 9], [1, 1, 9, 9], [20, 20, 30, 30]])


@pytest.mark.parametrize(
    "look",
    [
        lambda: VALUES.sum().item(),
        lambda: int(VALUES.argmax()),
        lambda: bool((VALUES > 0).any()),
        lambda: float(VALUES[0]),
        lambda: VALUES.tolist(),
        lambda: VALUES.numpy(),
        lambda: torch.where(VALUES > 0),
        lambda: (VALUES > 0).nonzero(),
        lambda: VALUES[VALUES > 0],
        lambda: VALUES.clone().index_put_((VALUES > 0,), VALUES[0]),
        lambda: VALUES.masked_select(VALUES > 0),
        lambda: VALUES.unique(),
        lambda: torch.equal(VALUES, VALUES),
        lambda: VALUES.repeat_interleave(torch.tensor([1, 2, 3])),
        lambda: nms(BOXES, VALUES, 0.5),
        lambda: VALUES.new_tensor([1.0, 2.0]),
        lambda: VALUES.to("meta"),  # to another device, and waited for
    ],
)
def test_what_waits_is_noticed(look: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError, match="makes the host wait"), no_waiting():
        look()


def test_what_does_not_wait_passes() -> None:
    with no_waiting():
        order = VALUES.argsort(descending=True)
        picked = torch.where(VALUES > 0, VALUES, 0)[order[:2]] + torch.tensor([1.0, 2.0])
    assert picked.tolist() == [4.0, 4.0]


def training_batch() -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Bitmaps and polygons, objects and none, a region to ignore; to be resized."""
    images = images_of(*SIZES)
    first = target_of(images[0], [[10, 10, 50, 40], [30, 20, 90, 60]], [1, 2])
    second = target_of(images[1], [[5, 8, 30, 44]], [2]) | {"ignore": torch.tensor([[40.0, 0, 64, 20]])}
    second["masks"] = InstanceMasks.from_coco([[[5, 8, 30, 8, 30, 44, 5, 44]]], *SIZES[1])
    empty = target_of(images[1], [], [])
    return [images[0], images[1], images[1]], [first, second, empty]


RESIZED: dict[str, dict[str, Any]] = {"input": {"min_size": 96, "max_size": 160, "enlarge": True}}


def test_detection_on_the_cpu() -> None:
    model = small_model(**RESIZED, box_head={"hidden": 16, "score_threshold": 0.0}).eval()
    with torch.no_grad(), no_waiting():
        found = model.detect_padded(images_of(*SIZES))
    assert found.counts.tolist() == [100, 100]


def test_losses_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    images, targets = training_batch()
    model = small_model(**RESIZED).train()
    batch = model.transform(images)
    objects = model.transform.targets(targets, batch)
    monkeypatch.setattr(padding, "reading_is_free", lambda _tensor: False)
    # Polygons are resized on the host, before anything is on a device.
    monkeypatch.setattr(model, "transform", Transformed(batch, objects))
    with no_waiting():
        losses = model.losses(images, targets)
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())


def test_sizes_of_images_reach_an_imagined_gpu() -> None:
    with imagined_gpu(), no_waiting():
        assert sizes_tensor(SIZES, torch.device("cuda")).device.type == "cuda"


def unlaid_config(**changes: dict[str, Any]) -> MaskRCNNConfig:
    """A model that need not be converted once it is made, which imagined parameters do not bear."""
    return dataclasses.replace(small_config(**changes), channels_last=False)


def test_detection_on_an_imagined_gpu() -> None:
    images = images_of(*SIZES)
    with imagined_gpu(), torch.no_grad():
        with torch.device("cuda"):
            model = MaskRCNN(unlaid_config(**RESIZED)).eval()
        with no_waiting():
            found = model.detect_padded(images)
    tensors = [tensor for tensor in found if tensor is not None]
    assert {tensor.device.type for tensor in tensors} == {"cuda"}
    assert [list(tensor.shape) for tensor in tensors] == [[2, 100, 4], [2, 100], [2, 100], [2], [2, 100, 28, 28]]


def test_losses_on_an_imagined_gpu() -> None:
    """The samples of the heads have their full size, as no count is known."""
    images, targets = training_batch()
    sampled = []
    with imagined_gpu():
        with torch.device("cuda"):
            model = MaskRCNN(unlaid_config()).train()
        for head in (model.roi_heads.box_head, model.roi_heads.mask_head):
            head.register_forward_hook(lambda _head, arguments, _output: sampled.append(len(arguments[0])))
        model.transform.eval()  # in training it draws a size: on the host, but what is imagined has no values
        with no_waiting():
            losses = model.losses(images, targets)  # past the checks, which look at targets on the host
    config = model.config.box_head
    assert sampled == [config.samples * 3, int(config.samples * config.positive_fraction) * 3]
    assert set(losses) == LOSSES
    assert {loss.device.type for loss in losses.values()} == {"cuda"}


@contextmanager
def no_synchronisation() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@on_a_gpu
@pytest.mark.parametrize("mixed", [False, True])
def test_detection_on_a_gpu(mixed: bool) -> None:
    model = small_model(**RESIZED, box_head={"hidden": 16, "score_threshold": 0.0}).eval().cuda()
    images = [image.cuda() for image in images_of(*SIZES)]
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=mixed):
        model.detect_padded(images)  # libraries initialise themselves
        with no_synchronisation():
            found = model.detect_padded(images)
    assert found.counts.tolist() == [100, 100]


@on_a_gpu
@pytest.mark.parametrize("mixed", [False, True])
def test_a_training_step_on_a_gpu(mixed: bool) -> None:
    images, targets = training_batch()
    model = small_model(**RESIZED).train().cuda()

    def step() -> dict[str, Tensor]:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=mixed):
            losses: dict[str, Tensor] = model(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        return losses

    step()
    with no_synchronisation():
        losses = step()
    assert all(loss.isfinite() for loss in losses.values())
