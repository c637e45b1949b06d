"""Detections: choosing among them, their masks, and the forms in which they leave."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastmrcnn.ops import InstanceMasks, paste_masks
from fastmrcnn.structures import Detections, paste_soft_masks

NAMES = ("disk", "ring", "star")


def some(count: int = 4, **changes: object) -> Detections:
    """``count`` detections by falling score in an image of 40 x 30 pixels, the classes in turn."""
    first = torch.rand(count, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([25.0, 15.0])
    values: dict[str, object] = {
        "boxes": torch.cat([first, first + torch.tensor([12.0, 10.0])], dim=1),
        "scores": torch.linspace(0.9, 0.3, count),
        "labels": torch.arange(count) % 3,
        "mask_probs": torch.rand(count, 28, 28, generator=torch.Generator().manual_seed(4)),
        "image_size": (30, 40),
        "class_names": NAMES,
        "category_ids": (7, 3, 11),
    }
    return Detections(**{**values, **changes})  # type: ignore[arg-type]


def test_length_names_and_repr() -> None:
    found = some(7)
    assert len(found) == 7
    assert found.names == ["disk", "ring", "star", "disk", "ring", "star", "disk"]
    assert repr(some(2)) == "<Detections: 2 in 40 x 30 pixels: disk 0.90, ring 0.30>"
    assert repr(found).endswith("ring 0.50, and 2 more>")
    assert repr(some(0)) == "<Detections: 0 in 40 x 30 pixels>"


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (0, [0]),
        (-1, [3]),
        (np.int64(2), [2]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        ([3, 0], [3, 0]),
        ([], []),
        (torch.tensor([2, 2]), [2, 2]),
        (torch.tensor(1), [1]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        ([False, True, True, False], [1, 2]),
        (np.array([1, 3]), [1, 3]),
        (np.zeros(4, dtype=bool), []),
    ],
)
def test_indexing(index: object, chosen: list[int]) -> None:
    found = some(4)
    part = found[index]  # type: ignore[index]
    assert len(part) == len(chosen)
    assert torch.equal(part.boxes, found.boxes[chosen])
    assert torch.equal(part.scores, found.scores[chosen])
    assert torch.equal(part.labels, found.labels[chosen])
    assert torch.equal(part.mask_probs, found.mask_probs[chosen])
    assert part.image_size == found.image_size


def test_index_out_of_range() -> None:
    with pytest.raises(IndexError, match="Detections: index must be within 4 detections; got 4"):
        some(4)[4]


def test_iteration_gives_them_one_by_one() -> None:
    found = some(3)
    singles = list(found)
    assert [single.names for single in singles] == [["disk"], ["ring"], ["star"]]
    assert torch.equal(torch.cat([single.boxes for single in singles]), found.boxes)


def test_filter_by_score_and_class() -> None:
    found = some(6)
    assert found.filter(score=0.6).scores.min() >= 0.6
    assert found.filter(classes=["star", "disk"]).names == ["disk", "star", "disk", "star"]
    assert found.filter(classes="ring", score=0.7).names == ["ring"]
    assert len(found.filter(classes=[])) == 0
    assert len(found.filter()) == 6
    with pytest.raises(ValueError, match=r"filter: classes must be among \['disk', 'ring', 'star'\]; got \['cup'\]"):
        found.filter(classes=["cup"])


@pytest.mark.parametrize("method", ["exact", "torchvision"])
def test_masks_are_pasted_by_the_method(method: str) -> None:
    found = some(5, paste_method=method)
    assert found.masks.dtype == torch.bool
    assert found.masks.shape == (5, 30, 40)
    assert torch.equal(found.masks, paste_masks(found.mask_probs, found.boxes, (30, 40), method=method))


@pytest.mark.parametrize("method", ["exact", "torchvision"])
def test_rle_encodes_the_masks(method: str) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask", reason="pycocotools, the reference, is not installed")
    found = some(5, paste_method=method)
    for encoding, mask in zip(found.rle, found.masks, strict=True):
        expected = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
        assert encoding == {"size": [30, 40], "counts": expected["counts"].decode()}


def test_mask_head_output_with_its_channel_is_taken() -> None:
    probabilities = torch.rand(4, 1, 28, 28)
    assert torch.equal(some(4, mask_probs=probabilities).mask_probs, probabilities[:, 0])


def test_to_coco() -> None:
    found = some(3)
    results = found.to_coco(42)
    assert [result["image_id"] for result in results] == [42, 42, 42]
    assert [result["category_id"] for result in results] == [7, 3, 11]
    for result, box, score, encoding in zip(results, found.boxes, found.scores, found.rle, strict=True):
        x1, y1, x2, y2 = box.double().tolist()
        assert result["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        assert result["score"] == score.item()
        assert result["segmentation"] == encoding


def test_to_torchvision() -> None:
    found = some(3)
    result = found.to_torchvision()
    assert set(result) == {"boxes", "labels", "scores", "masks"}
    assert torch.equal(result["labels"], found.labels + 1)
    assert result["labels"].dtype == torch.int64
    assert result["masks"].shape == (3, 1, 30, 40)
    assert result["masks"].dtype == torch.float32
    assert torch.equal(result["masks"][:, 0], paste_soft_masks(found.mask_probs, found.boxes, (30, 40)))


def test_without_detections_everything_is_empty() -> None:
    found = some(0, source=np.zeros((30, 40, 3), np.uint8))
    assert len(found) == 0
    assert found.names == []
    assert list(found) == []
    assert found.masks.shape == (0, 30, 40)
    assert found.rle == []
    assert found.to_coco(1) == []
    assert {name: value.shape[0] for name, value in found.to_torchvision().items()} == dict.fromkeys(
        ("boxes", "labels", "scores", "masks"), 0
    )
    assert len(found.filter(score=0.5, classes=["disk"])) == 0
    assert np.array_equal(np.array(found.plot()), np.zeros((30, 40, 3)))


def test_without_masks() -> None:
    found = some(2, mask_probs=None)
    assert found[0].mask_probs is None
    assert "masks" not in found.to_torchvision()
    assert "segmentation" not in found.to_coco(1)[0]
    assert found.plot(np.zeros((30, 40, 3), np.uint8)).size == (40, 30)
    for read in (lambda: found.masks, lambda: found.rle):
        with pytest.raises(ValueError, match="Detections: masks need mask probabilities"):
            read()


def test_to_device_copies_and_pickles() -> None:
    found = some(3)
    for other in (found.to("cpu"), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert torch.equal(other.boxes, found.boxes)
        assert other.names == found.names
        assert other.rle == found.rle


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": torch.zeros(4, 5)}, r"Detections: boxes must be \[4, 4\]; got \[4, 5\]"),
        ({"scores": torch.zeros(3)}, r"Detections: scores must be \[4\]; got \[3\]"),
        ({"labels": torch.zeros(4, 1)}, r"Detections: labels must be \[4\]; got \[4, 1\]"),
        ({"mask_probs": torch.zeros(4, 14, 28)}, r"Detections: mask_probs must be \[4, 28, 28\]; got \[4, 14, 28\]"),
        ({"category_ids": (1,)}, "category_ids must have one id per class name; got 1 for 3"),
    ],
)
def test_wrong_shapes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        some(4, **changes)


@given(
    seed=st.integers(0, 2**32 - 1), method=st.sampled_from(["exact", "torchvision"]), side=st.sampled_from([1, 7, 28])
)
def test_plot_draws_exactly_the_masks(seed: int, method: str, side: int) -> None:
    """Drawn from crops, the picture shows the bitmaps that are pasted into the whole image."""
    height, width = 61, 83
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(1, 2, generator=generator) * 120 - 30
    boxes = torch.cat([first, first + torch.rand(1, 2, generator=generator) * 90], dim=1)
    probabilities = torch.rand(1, side, side, generator=generator) * 0.6 + 0.2
    found = some(1, boxes=boxes, mask_probs=probabilities, image_size=(height, width), paste_method=method)
    image = np.zeros((height, width, 3), np.uint8)
    without_masks = np.array(dataclasses.replace(found, mask_probs=None).plot(image))
    drawn = np.array(found.plot(image, opacity=1.0)).any(axis=2)
    assert np.array_equal(drawn, found.masks[0].numpy() | without_masks.any(axis=2))


def test_plot_takes_the_source_or_an_image(tmp_path: object) -> None:
    pixels = np.full((30, 40, 3), 77, dtype=np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = np.array(some(3).plot(pixels))
    for image in (Image.fromarray(pixels), tensor, tensor / 255):
        assert np.array_equal(np.array(some(3, source=image).plot()), expected)
    assert some(3, source=pixels).plot(zoom=3).size == (120, 90)
    with pytest.raises(ValueError, match="plot: image must be given"):
        some(3).plot()
    with pytest.raises(ValueError, match=r"plot: image must be of size \(30, 40\); got \(40, 30\)"):
        some(3).plot(pixels.transpose(1, 0, 2))


def test_plot_draws_boxes_that_no_image_holds() -> None:
    boxes = torch.tensor([[float("nan"), 0, 5, 5], [float("inf"), 0, 5, 5], [1e9, 1e9, 2e9, 2e9], [9, 9, 3, 3]])
    picture = some(4, boxes=boxes).plot(np.zeros((30, 40, 3), np.uint8))
    assert picture.size == (40, 30)


def in_run_lengths(found: Detections) -> Detections:
    """The same detections with masks as what merges views of an image leaves them."""
    return dataclasses.replace(found, mask_probs=None, mask_runs=InstanceMasks.from_coco(found.rle, *found.image_size))


@given(
    count=st.integers(0, 6),
    method=st.sampled_from(["exact", "torchvision"]),
    chosen=st.sampled_from([slice(1, None), [1, 0], [], torch.tensor([True, False, True, False, True, False])]),
)
def test_run_lengths_in_place_of_probabilities(count: int, method: str, chosen: object) -> None:
    """Every reader gives the same; only torchvision's soft masks are zeros and ones."""
    image = np.zeros((30, 40, 3), np.uint8)
    of_probabilities = some(count, paste_method=method, source=image)
    of_runs = in_run_lengths(of_probabilities)
    if isinstance(chosen, torch.Tensor):
        chosen = chosen[:count]
    elif isinstance(chosen, list):
        chosen = [index for index in chosen if index < count]
    pairs = [(of_probabilities, of_runs), (of_probabilities[chosen], of_runs[chosen])]  # type: ignore[index]
    pairs.append((of_probabilities.filter(score=0.5, classes=["disk"]), of_runs.filter(score=0.5, classes=["disk"])))
    pairs.append((of_probabilities.to("cpu"), pickle.loads(pickle.dumps(copy.deepcopy(of_runs.to("cpu"))))))
    for one, other in pairs:
        assert other.has_masks
        assert torch.equal(one.masks, other.masks)
        assert one.rle == other.rle == one.run_lengths.to_rle()
        assert one.to_coco(3) == other.to_coco(3)
        assert torch.equal(one.run_lengths.areas(), one.masks.flatten(1).sum(dim=1).float())
        assert np.array_equal(np.array(one.plot()), np.array(other.plot()))
        assert torch.equal(other.to_torchvision()["masks"][:, 0], one.masks.float())
    assert [single.rle for single in of_runs] == [single.rle for single in of_probabilities]


def test_run_lengths_that_do_not_fit_are_refused() -> None:
    runs = some(4).run_lengths
    with pytest.raises(ValueError, match=r"Detections: mask_runs must be \[3, 30, 40\]; got \[4, 30, 40\]"):
        some(3, mask_probs=None, mask_runs=runs)
    with pytest.raises(ValueError, match="Detections: expected mask_probs or mask_runs; got both"):
        some(4, mask_runs=runs)
    assert not some(4, mask_probs=None).has_masks
