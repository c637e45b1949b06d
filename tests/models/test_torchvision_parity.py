"""The presets torchvision_... against torchvision itself: the same weights give the same numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.sampling import Sample
from fastmrcnn.ops import PaddedProposals
from fastmrcnn.structures import Detections
from fastmrcnn.weights import from_torchvision
from fastmrcnn.weights.torchvision import torchvision_name

pytest.importorskip("torchvision", reason="torchvision is the peer")

from tests.models.peer import (
    MAX_SIZE,
    MIN_SIZE,
    PROPOSALS,
    SAMPLED_ROIS,
    make_peer,
    noise_images,
    noise_targets,
)

BOX_TOLERANCE = 1e-3  # px
SCORE_TOLERANCE = 1e-5
RELATIVE_TOLERANCE = 1e-4  # of losses and gradients
# Of the whole gradient in float32 where heads normalise by their batches: torchvision on one thread differs from itself
# on two by 0.3 there, so that the test in float64 is the one that holds the gradients.
BATCH_STATISTICS_TOLERANCE = 1e-2
PASTE_TOLERANCE = 1e-4  # probabilities this close to the threshold may fall on either side
HEATMAP_TOLERANCE = 1e-4  # logits this close to the highest may be taken for it, one point of a heatmap away or far off


# Each of torchvision's builders; the first also with norms that follow the batch, as it starts from random weights.
PAIRS = {
    "frozen": ("maskrcnn_resnet50_fpn", "frozen_bn"),
    "training": ("maskrcnn_resnet50_fpn", "bn"),
    "v2": ("maskrcnn_resnet50_fpn_v2", "bn"),
    "faster": ("fasterrcnn_resnet50_fpn", "frozen_bn"),
    "keypoints": ("keypointrcnn_resnet50_fpn", "frozen_bn"),
    "faster_v2": ("fasterrcnn_resnet50_fpn_v2", "bn"),
}
V2_PROPOSALS, V2_SAMPLED_ROIS = 100, 48  # an image: each takes four convolutions
KEYPOINT_DETECTIONS, KEYPOINT_SAMPLED_ROIS = 10, 24  # an image: each takes eight, of 512 channels


def twin_of(peer: Any, norm_eps: float = 1e-5) -> MaskRCNN:
    """Our model with the peer's weights and limits."""
    loaded = from_torchvision(peer.state_dict(), norm_eps=norm_eps)
    config = loaded.config
    samples = peer.roi_heads.fg_bg_sampler.batch_size_per_image
    config = dataclasses.replace(
        config,
        input=dataclasses.replace(config.input, min_size=MIN_SIZE, max_size=MAX_SIZE, train_min_sizes=()),
        rpn=dataclasses.replace(config.rpn, post_nms_test=peer.rpn._post_nms_top_n["testing"]),
        box_head=dataclasses.replace(config.box_head, detections=peer.roi_heads.detections_per_img, samples=samples),
    )
    model = MaskRCNN(config)
    model.load_state_dict(loaded.state_dict())
    return model.eval()


def make_pair(builder: str, norm: str) -> tuple[Any, MaskRCNN]:
    limits = {"rpn_post_nms_top_n_test": PROPOSALS, "box_batch_size_per_image": SAMPLED_ROIS}
    if builder.endswith("v2"):
        limits = {"rpn_post_nms_top_n_test": V2_PROPOSALS, "box_batch_size_per_image": V2_SAMPLED_ROIS}
    if builder.startswith("keypoint"):
        limits |= {"box_detections_per_img": KEYPOINT_DETECTIONS, "box_batch_size_per_image": KEYPOINT_SAMPLED_ROIS}
    peer = make_peer(builder, frozen_norm=norm == "frozen_bn", **limits)
    ours = twin_of(peer)
    assert ours.config.backbone.norm == norm
    return peer, ours


@pytest.fixture(scope="module", params=["frozen", "training", "v2", "faster", "keypoints"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, MaskRCNN]:
    return make_pair(*PAIRS[request.param])


def show(what: str, value: Tensor) -> None:
    """`pytest -rP` prints what was measured; the documentation quotes it."""
    print(f"{what}: {value.item():.1e}")


def test_the_detections_are_torchvisions(pair: tuple[Any, MaskRCNN]) -> None:
    assert_same_detections(*pair)


def test_the_detections_are_those_of_the_second_faster_rcnn() -> None:
    """Its losses are those of Mask R-CNN's second version without the last."""
    assert_same_detections(*make_pair(*PAIRS["faster_v2"]))


def assert_same_detections(peer: Any, ours: MaskRCNN) -> None:
    images = noise_images((120, 160), (200, 140), (96, 96))
    with torch.no_grad():
        theirs, found = peer.eval()(images), ours.eval()(images)
    assert torch.cat([expected["labels"] for expected in theirs]).unique().numel() > 3
    for expected, detections in zip(theirs, found, strict=True):
        result = detections.to_torchvision()
        assert set(result) == set(expected)
        assert len(expected["boxes"]) == ours.config.box_head.detections
        assert torch.equal(result["labels"], expected["labels"])
        for part in expected.keys() - {"labels"}:
            show(f"{part}, greatest difference", (result[part] - expected[part]).abs().max())
        torch.testing.assert_close(result["boxes"], expected["boxes"], atol=BOX_TOLERANCE, rtol=0)
        torch.testing.assert_close(result["scores"], expected["scores"], atol=SCORE_TOLERANCE, rtol=0)
        if "masks" in expected:
            assert_same_masks(detections, expected["masks"])
        if "keypoints" in expected:
            assert_same_keypoints(result, expected)


def assert_same_masks(detections: Detections, expected: Tensor) -> None:
    torch.testing.assert_close(detections.to_torchvision()["masks"], expected, atol=PASTE_TOLERANCE, rtol=0)
    soft = expected[:, 0]
    undecided = (soft - 0.5).abs() < PASTE_TOLERANCE
    different = detections.masks != (soft >= 0.5)
    show("bitmap pixels that differ", different.sum())
    assert (~different | undecided).all()
    assert (soft >= 0.5).float().mean() > 0.02  # there is something to compare


def assert_same_keypoints(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The logits hold each heatmap's height; where a place differs, two of its points are as high."""
    assert expected["keypoints"].shape == (KEYPOINT_DETECTIONS, 17, 3)
    torch.testing.assert_close(found["keypoints_scores"], expected["keypoints_scores"], atol=HEATMAP_TOLERANCE, rtol=0)
    same = ((found["keypoints"] - expected["keypoints"]).abs() < 2 * BOX_TOLERANCE).all(dim=-1)
    show("share of keypoints in another place", (~same).float().mean())
    assert same.float().mean() > 0.99
    assert expected["keypoints"][..., :2].std(dim=1).mean() > 1  # px; there is something to compare


def test_the_detections_of_weights_that_were_trained_without_epsilon() -> None:
    """torchvision's first published ones. With these small variances an epsilon of 1e-5 gives others."""
    from torchvision.models.detection._utils import overwrite_eps

    peer = make_peer("fasterrcnn_resnet50_fpn", frozen_norm=True)
    overwrite_eps(peer, 0.0)
    with torch.no_grad():
        for norm in peer.backbone.body.modules():
            if hasattr(norm, "running_var"):
                norm.running_var *= 1e-4
                norm.weight *= 1e-2
    assert_same_detections(peer, twin_of(peer, norm_eps=0.0))
    [image] = noise_images((120, 160))
    with torch.no_grad():
        [expected], [other] = peer([image]), twin_of(peer)([image])
    assert (other.scores - expected["scores"]).abs().max() > 100 * SCORE_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frozen", "v2"])
def test_the_detections_are_torchvisions_at_its_default_size(name: str) -> None:
    peer, twin = make_pair(*PAIRS[name])
    peer.transform.min_size, peer.transform.max_size = (800,), 1333
    inputs = dataclasses.replace(twin.config.input, min_size=800, max_size=1333)
    ours = MaskRCNN(dataclasses.replace(twin.config, input=inputs))
    ours.load_state_dict(twin.state_dict())
    images = noise_images((300, 420))
    with torch.no_grad():
        [expected], [found] = peer(images), ours.eval()(images)
    assert torch.equal(found.labels + 1, expected["labels"])
    torch.testing.assert_close(found.boxes, expected["boxes"], atol=BOX_TOLERANCE, rtol=0)
    torch.testing.assert_close(found.scores, expected["scores"], atol=SCORE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("counts", [(4, 6), (3, 0)])
def test_losses_and_gradients_are_torchvisions(
    pair: tuple[Any, MaskRCNN], counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampling draws from torch's generator in torchvision's order, so a common seed gives common samples."""
    peer, ours = pair
    images = noise_images((120, 160), (150, 140))
    targets = noise_targets(images, list(counts))
    expected, losses = step_both(peer, ours, images, targets, monkeypatch)
    assert_same_losses(losses, expected)
    names = {name_in(peer, name): parameter for name, parameter in ours.named_parameters()}
    gradients = torch.cat([names[name].grad.flatten() for name, _ in peer.named_parameters()])
    wanted = torch.cat([parameter.grad.flatten() for parameter in peer.parameters()])
    show("whole gradient in float32, relative", (gradients - wanted).norm() / wanted.norm())
    tolerance = RELATIVE_TOLERANCE if ours.config.fpn.norm == "none" else BATCH_STATISTICS_TOLERANCE
    assert (gradients - wanted).norm() <= tolerance * wanted.norm()


@pytest.mark.parametrize("pair", ["frozen", "training", "v2", "keypoints"], indirect=True)
def test_the_gradient_of_every_parameter_is_torchvisions(
    pair: tuple[Any, MaskRCNN], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64: in float32 the last bit of a RoIAlign can flip a rectifier, and with it 1e-4 of a small gradient."""
    peer, ours = pair
    images = [image.double() for image in noise_images((70, 90), (96, 64))]
    targets = [target | {"boxes": target["boxes"].double()} for target in noise_targets(images, [3, 2])]
    # Ours keeps these in float32; a difference of 1e-8 in the input is enough to flip a rectifier of the stem.
    monkeypatch.setattr(peer.transform, "image_mean", ours.transform.mean.flatten().tolist())
    monkeypatch.setattr(peer.transform, "image_std", ours.transform.std.flatten().tolist())
    try:
        expected, losses = step_both(peer.double(), ours.double(), images, targets, monkeypatch)
        assert_same_losses(losses, expected)
        assert_same_gradients(ours, peer)
    finally:
        peer.float()
        ours.float()


@pytest.mark.parametrize("pair", ["frozen", "training"], indirect=True)
def test_given_samples_are_used_by_both(pair: tuple[Any, MaskRCNN], monkeypatch: pytest.MonkeyPatch) -> None:
    """The injectable samplers: every third candidate, no random numbers."""
    peer, ours = pair
    images = noise_images((120, 160), (150, 140))
    targets = noise_targets(images, [4, 6])
    for stage in ("rpn", "roi_heads"):
        monkeypatch.setattr(getattr(peer, stage), "fg_bg_sampler", masks_of_every_third)
        monkeypatch.setattr(getattr(ours, stage), "sampler", every_third)
    expected, losses = step_both(peer, ours, images, targets, monkeypatch)
    assert_same_losses(losses, expected)


def name_in(peer: Any, name: str) -> str:
    """The peer's name of our tensor."""
    box_head = peer.roi_heads.box_head
    return torchvision_name(name, box_convolutions=0 if hasattr(box_head, "fc6") else 4)


def step_both(
    peer: Any, ours: MaskRCNN, images: list[Tensor], targets: list[dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One step of each from the same seed and proposals.

    Proposals of equal score come in any order in torchvision and in order of their anchors in ours, and a sample is a
    choice of positions: so both lists are compared as sets, and then ours takes over theirs.
    """
    theirs: list[list[Tensor]] = []
    filter_proposals = peer.rpn.filter_proposals

    def recorded(*arguments: Any) -> Any:
        boxes, scores = filter_proposals(*arguments)
        theirs.append(boxes)
        return boxes, scores

    propose = ours.rpn.propose

    def replayed(*arguments: Any) -> PaddedProposals:
        for (found, _), boxes in zip(propose(*arguments).per_image(), theirs[0], strict=True):
            torch.testing.assert_close(in_order(found), in_order(boxes), atol=BOX_TOLERANCE, rtol=0)
        padded = torch.nn.utils.rnn.pad_sequence(theirs[0], batch_first=True)
        return PaddedProposals(padded, padded[..., 0], torch.tensor([len(boxes) for boxes in theirs[0]]))

    monkeypatch.setattr(peer.rpn, "filter_proposals", recorded)
    monkeypatch.setattr(ours.rpn, "propose", replayed)
    statistics = {name: value.clone() for name, value in peer.state_dict().items()}
    expected, losses = (step(model, images, targets) for model in (peer, ours))
    peer.load_state_dict(statistics)  # as they were, for the next test
    ours.load_state_dict(from_torchvision(statistics).state_dict())
    return expected, losses


def in_order(boxes: Tensor) -> Tensor:
    """The rows sorted by their coordinates, the first one first."""
    return torch.tensor(sorted(boxes.tolist()))


def step(model: Any, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    model.train()
    model.zero_grad()
    torch.manual_seed(7)
    losses: dict[str, Tensor] = model(images, targets)
    torch.stack(list(losses.values())).sum().backward()
    return losses


def assert_same_losses(losses: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(losses) == set(expected)
    for name, loss in expected.items():
        show(f"{name}, relative", (losses[name] - loss).abs() / loss.abs())
        assert losses[name].item() == pytest.approx(loss.item(), rel=RELATIVE_TOLERANCE), name


def assert_same_gradients(ours: MaskRCNN, peer: Any) -> None:
    theirs = dict(peer.named_parameters())
    assert len(theirs) == len(list(ours.parameters()))
    errors = {}
    for name, parameter in ours.named_parameters():
        gradient = theirs[name_in(peer, name)].grad
        # Rounding alone is left of the heatmaps' biases: a softmax does not change when all of its inputs do.
        errors[name] = (parameter.grad - gradient).norm() / gradient.norm().clamp(min=1e-9)
    show("worst gradient of a parameter in float64, relative", max(errors.values()))
    for name, error in errors.items():
        assert error <= RELATIVE_TOLERANCE, f"{name}: {error:.2e}"


def every_third(labels: Tensor, count: int, positive_fraction: float, _: torch.Generator | None = None) -> Sample:
    return Sample.of(torch.where(labels >= 1)[0][::3], torch.where(labels == 0)[0][: 3 * count : 3])


def masks_of_every_third(labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The same choice as torchvision's samplers return it: a byte mask of positives and one of negatives per image."""
    positives, negatives = [], []
    for label in labels:
        count = 256 if label.is_floating_point() else SAMPLED_ROIS  # only the RPN's labels are floats
        sample = every_third(label, count, 0.5)
        for masks, chosen in zip((positives, negatives), sample.chosen.tensor_split([sample.positives]), strict=True):
            mask = torch.zeros_like(label, dtype=torch.uint8)
            mask[chosen] = 1
            masks.append(mask)
    return positives, negatives
