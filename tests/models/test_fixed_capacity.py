"""The path of fixed shapes: the same detections and losses as the trimmed one, compiled and exported too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.models import FixedCapacityDetector, GraphedDetector, MaskRCNN, PaddedInstances, padding
from fastmrcnn.models.sampling import Sample
from tests.models.precision import float32_convolutions
from tests.models.small import images_of, small_model, target_of

SIZES = ((64, 96), (50, 64))


def detecting_model(**box_head: Any) -> MaskRCNN:
    """Scores, boxes and masks that vary: a fresh network scores every region alike."""
    model = small_model(
        input={"min_size": 96, "max_size": 160, "enlarge": True},
        rpn={"post_nms_test": 200},
        box_head={"hidden": 16, "score_threshold": 0.0} | box_head,
    )
    with torch.no_grad():
        for layer, gain in (
            (model.rpn.head.objectness, 50),
            (model.roi_heads.box_head.classifier, 30),
            (model.roi_heads.box_head.deltas, 300),
            (model.roi_heads.mask_head.logits, 100),
        ):
            layer.weight.mul_(gain)
    return model.eval()


def assert_same(found: PaddedInstances, expected: PaddedInstances) -> None:
    """Up to rounding: convolutions of another number of RoIs may sum in another order."""
    assert torch.equal(found.counts, expected.counts)
    assert torch.equal(found.labels, expected.labels)
    for part in ("boxes", "scores", "mask_probs"):
        torch.testing.assert_close(getattr(found, part), getattr(expected, part), atol=1e-4, rtol=1e-4)


CASES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "as many as there is room for": ({}, [100, 100]),
    "some": ({"score_threshold": 0.4, "nms_iou": 0.3}, []),
    "room to spare": ({"detections": 1000}, []),
    "none": ({"score_threshold": 1.0}, [0, 0]),
}


@pytest.mark.parametrize("case", CASES)
def test_detections_are_those_of_the_trimmed_path(case: str) -> None:
    options, expected_counts = CASES[case]
    model, images = detecting_model(**options), images_of(*SIZES)
    with torch.no_grad():
        padded, trimmed = model.detect_padded(images), model(images)
    counts = padded.counts.tolist()
    capacity = padded.boxes.shape[1]
    assert capacity == model.config.box_head.detections
    if expected_counts:
        assert counts == expected_counts
    else:
        assert all(0 < count < capacity for count in counts)
        assert counts[0] != counts[1]
    for image, (count, detections) in enumerate(zip(counts, trimmed, strict=True)):
        boxes, scores, labels, masks = (
            part[image] for part in (padded.boxes, padded.scores, padded.labels, padded.mask_probs)
        )
        assert len(detections) == count
        torch.testing.assert_close(boxes[:count], detections.boxes)
        torch.testing.assert_close(scores[:count], detections.scores)
        assert torch.equal(labels[:count], detections.labels + 1)
        torch.testing.assert_close(masks[:count], detections.mask_probs)
        assert all((part[count:] == 0).all() for part in (boxes, scores, labels, masks))


def test_few_proposals_leave_slots_that_change_nothing() -> None:
    model, images = detecting_model(), images_of(*SIZES)
    batch = model.transform(images)
    features = model.features(batch.pixels)
    _, proposals = model.rpn(features, (96, 160), batch.image_sizes)
    few = proposals._replace(counts=torch.tensor([3, 0]))
    spoilt = few._replace(boxes=few.boxes.clone())
    spoilt.boxes[0, 3:] = 1e6
    spoilt.boxes[1] = torch.tensor([5.0, 5, 4, 4])
    with torch.no_grad():
        expected, padded, other = (
            model.roi_heads.detect(features, given, batch.image_sizes, packed=packed)
            for given, packed in ((few, True), (few, False), (spoilt, False))
        )
    assert expected.counts[0] > 0
    assert expected.counts[1] == 0
    assert_same(padded, expected)
    assert_same(other, expected)


def batch_of(model: MaskRCNN) -> tuple[Tensor, Tensor]:
    batch = model.transform(images_of(*SIZES))
    return batch.pixels, batch.image_sizes


# Dynamo's and inductor's own warnings about themselves.
ignoring_compilers = pytest.mark.filterwarnings("ignore")


@ignoring_compilers
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_the_compiled_detector_gives_the_same(backend: str) -> None:
    torch._dynamo.reset()
    model = detecting_model(score_threshold=0.4, nms_iou=0.3)
    inputs = batch_of(model)
    detector = FixedCapacityDetector(model)
    compiled = torch.compile(detector, fullgraph=True, backend=backend)
    with torch.no_grad():
        expected = detector(*inputs)
        assert expected.counts.min() > 0
        assert_same(PaddedInstances(*compiled(*inputs)), expected)


@ignoring_compilers
def test_compilation_from_images_on() -> None:
    torch._dynamo.reset()
    model, images = detecting_model(score_threshold=0.4), images_of(*SIZES)
    with torch.no_grad():
        expected = model.detect_padded(images)
        found = torch.compile(model.detect_padded, fullgraph=True, backend="aot_eager")(images)
    assert_same(PaddedInstances(*found), expected)


@ignoring_compilers
def test_the_exported_detector_gives_the_same() -> None:
    model = detecting_model(score_threshold=0.4, nms_iou=0.3)
    pixels, image_sizes = batch_of(model)
    with torch.no_grad():
        program = torch.export.export(FixedCapacityDetector(model), (pixels, image_sizes))
        for sizes in (image_sizes, image_sizes - 20):  # they are an input, not a constant
            expected = model.detect_batch(pixels, sizes)
            assert_same(PaddedInstances(*program.module()(pixels, sizes)), expected)


@ignoring_compilers
def test_an_exported_detector_may_leave_out_empty_slots() -> None:
    """How many regions the heads then read is found out in each run; none at all is no special case."""

    class Packed(FixedCapacityDetector):
        def forward(self, pixels: Tensor, image_sizes: Tensor) -> PaddedInstances:
            return self.model.detect_batch(pixels, image_sizes, packed=True)

    model = detecting_model(score_threshold=0.4, nms_iou=0.3)
    pixels, image_sizes = batch_of(model)
    with torch.no_grad():
        program = torch.export.export(Packed(model), (pixels, image_sizes)).module()
        for sizes, counts in ((image_sizes, None), (torch.zeros_like(image_sizes), [0, 0])):
            expected = model.detect_batch(pixels, sizes)
            assert counts is None or expected.counts.tolist() == counts
            assert_same(PaddedInstances(*program(pixels, sizes)), expected)


@pytest.mark.parametrize("packed", [False, True])
def test_mixed_precision_detects(packed: bool) -> None:
    model = detecting_model()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.detect_batch(*batch_of(model), packed=packed)
    parts = [part for part in found if part is not None]
    assert [part.dtype for part in parts] == [torch.float32, torch.float32, torch.int64, torch.int64, torch.float32]
    assert found.counts.tolist() == [100, 100]
    assert all(part.isfinite().all() for part in parts)


def training_batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = images_of(*SIZES)
    return images, [
        target_of(images[0], [[10, 10, 50, 40], [30, 20, 90, 60]], [1, 2]),
        target_of(images[1], [], []),
    ]


def first_candidates(labels: Tensor, count: int, positive_fraction: float, _: torch.Generator | None) -> Sample:
    """A few of each, in slots of which some stay empty."""
    positive, negative = torch.where(labels >= 1)[0][:6], torch.where(labels == 0)[0][:20]
    slots = torch.full((40,), -1)
    slots[: len(positive) + len(negative)] = torch.cat((positive, negative))
    return Sample(slots, 10)


@pytest.mark.parametrize("mask_norm", ["none", "gn"])
def test_losses_and_gradients_are_those_of_the_trimmed_path(mask_norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(mask_head={"channels": 8, "norm": mask_norm}).train()
    model.rpn.sampler = model.roi_heads.sampler = first_candidates
    expected, wanted = losses_and_gradients(model)
    monkeypatch.setattr(padding, "reading_is_free", lambda _tensor: False)
    losses, gradients = losses_and_gradients(model)
    assert all(loss > 0 for loss in losses.values())
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradients, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("objects", [1, 0])
def test_training_without_a_single_proposal(objects: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All slots but the objects' own are empty, of boxes without area."""
    monkeypatch.setattr(padding, "reading_is_free", lambda _tensor: False)
    model = small_model(rpn={"min_box_size": 1e6}).train()
    images, targets = training_batch()
    losses = model(images, [{key: value[:objects] for key, value in target.items()} for target in targets])
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert (losses["loss_mask"] > 0) == (objects > 0)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def losses_and_gradients(model: MaskRCNN) -> tuple[dict[str, Tensor], list[Tensor]]:
    model.zero_grad()
    losses: dict[str, Tensor] = model(*training_batch())
    torch.stack(list(losses.values())).sum().backward()
    return losses, [parameter.grad for parameter in model.parameters()]


@pytest.fixture
def deterministic_algorithms() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic_algorithms")
@pytest.mark.parametrize("at_hand", [True, False])
def test_deterministic_algorithms_are_enough(at_hand: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not at_hand:
        monkeypatch.setattr(padding, "reading_is_free", lambda _tensor: False)
    model = detecting_model()
    with torch.no_grad():
        first, again = model(images_of(*SIZES)), model(images_of(*SIZES))
    assert all(torch.equal(one.mask_probs, other.mask_probs) for one, other in zip(first, again, strict=True))
    model = small_model().train()
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(losses_and_gradients(model))
    (losses, gradients), (same_losses, same_gradients) = runs
    assert losses == same_losses
    assert all(torch.equal(one, other) for one, other in zip(gradients, same_gradients, strict=True))


def test_the_precision_of_convolutions_is_put_back() -> None:
    def precision() -> Any:
        conv = getattr(torch.backends.cudnn, "conv", None)
        return torch.backends.cudnn.allow_tf32 if conv is None else conv.fp32_precision

    before = precision()
    with float32_convolutions():
        assert precision() in (False, "ieee")
    assert precision() == before not in (False, "ieee")


def test_a_graph_needs_a_gpu() -> None:
    model = detecting_model()
    with pytest.raises(ValueError, match="GraphedDetector: pixels must be on a GPU; got cpu"):
        GraphedDetector(model, *batch_of(model))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("mixed", [False, True])
def test_the_graph_gives_the_same(mixed: bool) -> None:
    model = detecting_model(score_threshold=0.4, nms_iou=0.3).cuda()
    pixels, image_sizes = batch_of(model)
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=mixed):
        detector = GraphedDetector(model, pixels, image_sizes)
        for other in (pixels, pixels.flip(3), pixels * 0.5):
            assert_same(detector(other, image_sizes), model.detect_batch(other, image_sizes))
    with pytest.raises(ValueError, match="GraphedDetector: image_sizes must be"):
        detector(pixels, image_sizes[:1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.usefixtures("deterministic_algorithms")
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_gpu_repeats_its_gradients(channels_last: bool, mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which torch's own matrix products insist on
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = small_model().train().cuda().to(memory_format=layout)
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=mixed):
            runs.append(losses_and_gradients(model))
    (losses, gradients), (same_losses, same_gradients) = runs
    assert losses == same_losses
    assert all(torch.equal(one, other) for one, other in zip(gradients, same_gradients, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_finds_what_the_cpu_finds() -> None:
    model, images = detecting_model(score_threshold=0.4, nms_iou=0.3), images_of(*SIZES)
    with torch.no_grad(), float32_convolutions():
        expected, found = model(images), model.cuda()(images)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.labels.cpu(), other.labels)
        torch.testing.assert_close(one.boxes.cpu(), other.boxes, atol=1e-2, rtol=0)
        torch.testing.assert_close(one.mask_probs.cpu(), other.mask_probs, atol=1e-3, rtol=0)
