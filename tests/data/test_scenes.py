"""The embedded data set: deterministic, honest in its masks, and readable as any other COCO data set."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fastmrcnn.data import CocoDataset
from fastmrcnn.data.scenes import CLASS_NAMES, render_scene, write_dataset
from fastmrcnn.data.scenes.canvas import MIN_SIDE
from fastmrcnn.errors import UserError

IMAGES = 30


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("scenes"), images=IMAGES, seed=3, split="val")


@pytest.fixture(scope="module")
def dataset(annotations: Path) -> CocoDataset:
    return CocoDataset(annotations, annotations.parent / "images")


def test_the_reader_gives_back_what_was_drawn(dataset: CocoDataset) -> None:
    assert dataset.class_names == CLASS_NAMES
    assert len(dataset) == IMAGES
    for index in range(0, IMAGES, 4):
        scene, sample = render_scene(index, seed=3, split="val"), dataset[index]
        assert [CLASS_NAMES[label] for label in sample.labels] == [item.class_name for item in scene.objects]
        difference = sample.image.permute(1, 2, 0).numpy().astype(int) - scene.image
        assert np.abs(difference).mean() < 5  # JPEG smooths the noise
        for item, mask in zip(scene.objects, sample.masks.to_bitmaps().numpy(), strict=True):
            # A polygon's own pixels differ from the antialiased drawing's along the border alone.
            overlap = (item.mask & mask).sum() / (item.mask | mask).sum()
            assert overlap > (0.999 if item.outline is None else 0.85)


def test_boxes_and_areas_are_those_of_the_masks(dataset: CocoDataset) -> None:
    for sample in dataset:
        torch.testing.assert_close(sample.boxes, sample.masks.boxes())
        torch.testing.assert_close(sample.areas, sample.masks.areas())


def test_objects_are_large_enough_and_few_enough(dataset: CocoDataset) -> None:
    counts = []
    for sample in dataset:
        sides = (sample.boxes[:, 2:] - sample.boxes[:, :2])[~sample.iscrowd]
        assert sides.min() >= MIN_SIDE - 1  # the polygon's own pixels
        counts.append(len(sides))
    assert min(counts) >= 2
    assert max(counts) <= 40


def test_all_kinds_of_annotation_occur(annotations: Path) -> None:
    document = json.loads(annotations.read_text())
    assert {record["category_id"] for record in document["annotations"]} == set(range(1, len(CLASS_NAMES) + 1))
    kinds = {
        "polygon"
        if isinstance(record["segmentation"], list)
        else ("compressed" if isinstance(record["segmentation"]["counts"], str) else "uncompressed", record["iscrowd"])
        for record in document["annotations"]
    }
    assert kinds == {"polygon", ("compressed", 0), ("uncompressed", 1)}
    areas = [record["area"] for record in document["annotations"]]
    assert min(areas) < 200
    assert max(areas) > 6000


def test_masks_do_not_overlap(dataset: CocoDataset) -> None:
    """Each pixel shows one object: masks are visible parts (a polygon's border may share a pixel)."""
    for sample in list(dataset)[:10]:
        covered = sample.masks.to_bitmaps().sum(dim=0)
        assert (covered > 1).sum() <= 0.02 * (covered > 0).sum()


def test_rings_have_holes() -> None:
    rings = [
        item.mask
        for index in range(30)
        for item in render_scene(index, seed=1, classes=("ring",)).objects
        if item.outline is not None
    ]
    assert len(rings) > 10
    for mask in rings:
        rows, columns = np.nonzero(mask)
        assert not mask[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2]


def test_an_image_depends_on_seed_split_and_index_alone(tmp_path: Path) -> None:
    def digests(directory: str, **arguments: object) -> list[str]:
        path = write_dataset(tmp_path / directory, **arguments)  # type: ignore[arg-type]
        images = sorted((path.parent / "images").iterdir())
        return [hashlib.sha256(image.read_bytes()).hexdigest() for image in images]

    long, short = digests("long", images=6, seed=5), digests("short", images=3, seed=5)
    assert long[:3] == short
    assert len(set(long)) == 6
    assert not set(long) & set(digests("seed", images=6, seed=6))
    assert not set(long) & set(digests("split", images=6, seed=5, split="val"))


def test_scenes_stay_the_same_between_versions() -> None:
    """Published numbers hold for these images: change the drawing only together with the shipped weights."""
    means = [round(float(render_scene(index, seed=0).image.mean()), 1) for index in range(6)]
    assert means == pytest.approx(EXPECTED_MEANS, abs=0.5)


EXPECTED_MEANS = [145.3, 61.1, 83.4, 121.4, 75.5, 80.0]


def test_every_third_scene_is_a_grey_tray_of_coins() -> None:
    for index in range(6):
        scene = render_scene(index, seed=0)
        is_grey = bool((scene.image == scene.image[..., :1]).all())
        assert is_grey == (index % 3 == 2)
        if is_grey:
            assert {item.class_name for item in scene.objects} == {"coin"}


def test_classes_and_size_can_be_chosen(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, images=4, seed=0, size=(96, 128), classes=("star", "box"))
    dataset = CocoDataset(path, path.parent / "images")
    assert dataset.class_names == ("star", "box")
    assert all(96 <= side <= 128 for sample in dataset for side in sample.image.shape[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 0}, "images must be at least 1; got 0"),
        ({"seed": -1}, "seed must not be negative; got -1"),
        ({"size": (320, 224)}, "size must be"),
        ({"size": (10, 224)}, "size must be"),
        ({"classes": ("coin", "unicorn")}, "classes must be distinct names of ball, box, star, ring, leaf, coin"),
        ({"classes": ()}, "classes must be distinct names"),
        ({"classes": ("coin", "coin")}, "classes must be distinct names"),
    ],
)
def test_values_out_of_range(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"^write_dataset: {message}"):
        write_dataset(tmp_path, **({"images": 1, "seed": 0} | arguments))  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "scenes").touch()
    with pytest.raises(UserError, match="scenes"):
        write_dataset(tmp_path / "scenes", images=1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_drawing_is_quick() -> None:
    """About 40 scenes a second on one core; the bound only catches a change of order."""
    start = time.process_time()
    for index in range(9):
        render_scene(index, seed=2)
    assert time.process_time() - start < 9 * 0.3
