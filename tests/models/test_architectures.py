"""Each architecture of the family trains, detects, survives a round trip through a file, and never waits for a GPU."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.models import FixedCapacityDetector, MaskRCNN, PaddedInstances, padding
from fastmrcnn.models.sampling import Sample
from fastmrcnn.weights import load_model, save_model
from tests.models.architectures import ARCHITECTURES, model_of
from tests.models.no_waiting import Transformed, imagined_gpu, no_waiting
from tests.models.small import images_of, target_of

SIZES = ((64, 96), (90, 60))
# Of every part each kind; depths are more of the same.
DISTINCT = (
    *("c4", "dc5", "rpn", "faster", "keypoints", "bn everywhere", "gn everywhere", "class-agnostic masks", "softmax"),
    *("every ablation", "torchvision v2", "detectron2 keypoints", "matterport"),
)
COMPILED = ("c4", "rpn", "every ablation")
COMPILED_SLOWLY = ("dc5", "faster", "gn everywhere", "torchvision v2", "detectron2 keypoints", "matterport")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def built(request: pytest.FixtureRequest) -> MaskRCNN:
    return model_of(ARCHITECTURES[request.param])


@pytest.fixture
def model(built: MaskRCNN) -> MaskRCNN:
    """Each test its own, to spoil as it likes."""
    return copy.deepcopy(built)


def batch_of_objects() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = images_of(*SIZES)
    targets = [
        target_of(images[0], [[8, 8, 40, 48], [30, 20, 90, 60]], [1, 2]),
        target_of(images[1], [[4, 20, 56, 80]], [2]),
    ]
    for target in targets:  # of use to a keypoint head: the corners, both labelled
        target["keypoints"] = F.pad(target["boxes"].reshape(-1, 2, 2), (0, 1), value=2.0)
    return images, targets


def trained(model: MaskRCNN) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters that are not frozen, and their names."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def losses_of(model: MaskRCNN) -> set[str]:
    names = {"loss_objectness", "loss_rpn_box_reg"}
    names |= {"loss_classifier", "loss_box_reg"} if model.config.box_head else set()
    names |= {"loss_mask"} if model.config.mask_head else set()
    return names | ({"loss_keypoint"} if model.config.keypoint_head else set())


def test_one_step_teaches_every_parameter(model: MaskRCNN) -> None:
    losses = model.train()(*batch_of_objects())
    assert losses.keys() == losses_of(model)
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    stages = ["stem", *(f"stages.{index}" for index in range(4))]
    frozen = tuple(f"backbone.{stage}." for stage in stages[: model.config.backbone.frozen_stages])
    for name, parameter in model.named_parameters():
        if name.startswith(frozen):
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_it_detects_what_fits_its_parts(model: MaskRCNN) -> None:
    images = images_of(*SIZES)
    with torch.inference_mode():
        found = model(images)
    for detections, image in zip(found, images, strict=True):
        assert detections.image_size == image.shape[-2:]
        assert len(detections) > 5
        assert set(detections.labels.tolist()) <= {0, 1}
        assert detections.boxes.std(dim=0).min() > 1
        assert (detections.mask_probs is None) == (model.config.mask_head is None)
        assert (detections.keypoints is None) == (model.config.keypoint_head is None)
        if detections.mask_probs is not None:
            side = 28 if model.config.neck != "c4" else 14
            assert detections.mask_probs.shape == (len(detections), side, side)
            assert detections.mask_probs.min() >= 0
            assert detections.mask_probs.max() <= 1
            assert detections.mask_probs.std(dim=0).mean() > 0.02


def test_a_file_holds_all_of_it(model: MaskRCNN, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert again.config == model.config
    own, read = model.state_dict(), again.state_dict()
    assert own.keys() == read.keys()
    assert all(torch.equal(own[name], read[name]) for name in own)
    with torch.inference_mode():
        [found], [expected] = again(images_of(SIZES[0])), model(images_of(SIZES[0]))
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.scores, expected.scores)
    if expected.mask_probs is not None:
        assert torch.equal(found.mask_probs, expected.mask_probs)


@pytest.mark.parametrize("name", DISTINCT)
def test_images_without_objects(name: str) -> None:
    model = model_of(ARCHITECTURES[name]).train()
    images, targets = batch_of_objects()
    for found in (targets[:1], []):
        given = found + [{key: value[:0] for key, value in target.items()} for target in targets[len(found) :]]
        model.zero_grad()
        losses = model(images, given)
        assert all(loss.isfinite() for loss in losses.values())
        if not found:
            learnt = {name for name, loss in losses.items() if loss > 0}
            assert learnt == losses.keys() & {"loss_classifier", "loss_objectness"}
        torch.stack(list(losses.values())).sum().backward()
        assert all(parameter.grad.isfinite().all() for _, parameter in trained(model))
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("name", DISTINCT)
def test_half_precision(name: str) -> None:
    """A whole network in 16 bits detects, and says where in 32."""
    model = model_of(ARCHITECTURES[name]).bfloat16()
    with torch.no_grad():
        found = model(batch_of_objects()[0])
    assert sum(len(one.boxes) for one in found) > 0
    assert all(one.boxes.dtype == torch.float32 and one.boxes.isfinite().all() for one in found)


@pytest.mark.parametrize("name", DISTINCT)
def test_mixed_precision(name: str) -> None:
    """Losses and results are of float32, and near those in full precision."""
    model = model_of(ARCHITECTURES[name])
    images, targets = batch_of_objects()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            [found, *_] = model(images)
        losses = model.train()(images, targets)
    parts = [found.boxes, found.scores, found.mask_probs, found.keypoints, *losses.values()]
    assert {part.dtype for part in parts if part is not None} == {torch.float32}
    assert all(loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad.isfinite().all() for _, parameter in trained(model))


@pytest.fixture
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a GPU: slots of a fixed number, whatever is in them."""
    with monkeypatch.context() as patch:
        patch.setattr(padding, "reading_is_free", lambda _tensor: False)
        yield


def few_of_each(labels: Tensor, count: int, positive_fraction: float, _: torch.Generator | None) -> Sample:
    """A sample whose slots stay half empty."""
    positive, negative = torch.where(labels >= 1)[0][:6], torch.where(labels == 0)[0][:20]
    slots = torch.full((40,), -1)
    slots[: len(positive) + len(negative)] = torch.cat((positive, negative))
    return Sample(slots, 10)


def test_empty_slots_change_neither_losses_nor_gradients(model: MaskRCNN, request: pytest.FixtureRequest) -> None:
    """Nor, with batch normalisation in the heads, the running statistics. In float64: in float32 the last bit of a sum
    decides which pixel is the maximum, or whether a rectifier passes its gradient."""
    model.double().train()
    model.rpn.sampler = few_of_each
    if model.roi_heads is not None:
        model.roi_heads.sampler = few_of_each
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected, wanted, statistics = step(model)
    model.load_state_dict(before)
    request.getfixturevalue("nothing_is_read")
    found, gradients, own_statistics = step(model)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)  # the targets of masks are float32
    torch.testing.assert_close(gradients, wanted, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(own_statistics, statistics, rtol=1e-9, atol=1e-9)


def step(model: MaskRCNN) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Losses, gradients and buffers after a step."""
    model.zero_grad()
    images, targets = batch_of_objects()
    targets = [target | {"boxes": target["boxes"].double()} for target in targets]
    losses: dict[str, Tensor] = model([image.double() for image in images], targets)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in trained(model)}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    return {name: loss.detach() for name, loss in losses.items()}, gradients, buffers


def test_empty_slots_do_not_change_the_detections(model: MaskRCNN) -> None:
    images = images_of(*SIZES)
    with torch.no_grad():
        trimmed, padded = model(images), model.detect_padded(images)
    for image, detections in enumerate(trimmed):
        count = len(detections)
        assert padded.counts[image] == count
        torch.testing.assert_close(padded.boxes[image, :count], detections.boxes)
        torch.testing.assert_close(padded.scores[image, :count], detections.scores)
        if detections.mask_probs is not None:
            masks = padded.mask_probs[image]
            torch.testing.assert_close(masks[:count], detections.mask_probs, atol=1e-5, rtol=1e-4)
            assert (masks[count:] == 0).all()


@pytest.mark.usefixtures("nothing_is_read")
def test_the_host_waits_for_nothing(model: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    images, targets = batch_of_objects()
    with torch.no_grad(), no_waiting():
        found = model.detect_padded(images)
    assert found.counts.min() > 0
    model.train()
    batch = model.transform(images)
    monkeypatch.setattr(model, "transform", Transformed(batch, model.transform.targets(targets, batch)))
    with no_waiting():
        losses = model.losses(images, targets)
        torch.stack(list(losses.values())).sum().backward()
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("name", DISTINCT)
def test_an_imagined_gpu_holds_all_of_it(name: str) -> None:
    """No tensor is left behind on the host."""
    images, targets = batch_of_objects()
    with imagined_gpu():
        with torch.device("cuda"):
            model = MaskRCNN(dataclasses.replace(ARCHITECTURES[name], channels_last=False)).eval()
        with torch.no_grad(), no_waiting():
            found = model.detect_padded(images)
        assert {tensor.device.type for tensor in found if tensor is not None} == {"cuda"}
        model.train().transform.eval()  # in training it draws a size: on the host, but what is imagined has no values
        with no_waiting():
            losses = model.losses(images, targets)
        assert {loss.device.type for loss in losses.values()} == {"cuda"}


ignoring_compilers = pytest.mark.filterwarnings("ignore")  # their own warnings about themselves


def assert_same(found: Any, expected: PaddedInstances) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@ignoring_compilers
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "aot_eager") for name in COMPILED),
        # What differs among these is the graph, which takes half the time without its way through autograd.
        *(pytest.param(name, "eager", marks=pytest.mark.slow) for name in COMPILED_SLOWLY),
    ],
)
def test_it_compiles_and_exports_as_one_graph(name: str, backend: str) -> None:
    torch._dynamo.reset()
    model = model_of(ARCHITECTURES[name])
    batch = model.transform(images_of(*SIZES))
    inputs = (batch.pixels, batch.image_sizes)
    detector = FixedCapacityDetector(model)
    with torch.no_grad():
        expected = detector(*inputs)
        compiled = torch.compile(detector, fullgraph=True, backend=backend)
        assert_same(compiled(*inputs), expected)
        assert_same(torch.export.export(detector, inputs).module()(*inputs), expected)


def test_stage_5_reads_the_sampled_regions_once() -> None:
    model = model_of(ARCHITECTURES["c4"]).train()
    assert model.roi_heads is not None
    assert model.roi_heads.res5 is not None
    calls: list[int] = []
    model.roi_heads.res5.register_forward_hook(lambda _, inputs, __: calls.append(inputs[0].shape[0]))
    model(*batch_of_objects())
    assert calls == [64]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "every ablation"])
def test_it_learns_an_image(name: str) -> None:
    torch.manual_seed(0)
    model = MaskRCNN(ARCHITECTURES[name]).train()
    image = torch.full((3, 64, 64), 0.5)
    image[0, 10:34, 8:30] = 1.0
    image[2, 30:58, 32:60] = 1.0
    target = target_of(image, [[8, 10, 30, 34], [32, 30, 60, 58]], [1, 2])
    target["masks"][0, 10:20, 8:19] = 0  # not all of its box
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rows = []
    for _ in range(100):
        losses = model([image], [target])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        rows.append(torch.stack(list(losses.values())).detach())
    before, after = (
        dict(zip(losses, torch.stack(some).mean(dim=0).tolist(), strict=True)) for some in (rows[:5], rows[-5:])
    )
    for loss in ("loss_classifier", "loss_mask", "loss_objectness"):
        assert after[loss] < 0.65 * before[loss], loss
    assert sum(after.values()) < 0.5 * sum(before.values())
