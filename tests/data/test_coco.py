"""The reader: what a file says is what a sample has, and every mistake is one line that names it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastmrcnn.data import CocoDataset, collate, make_loader, to_target
from fastmrcnn.data.transforms import ColorJitter, HorizontalFlip
from fastmrcnn.errors import UserError

Document = dict[str, Any]
Write = Callable[[Any], tuple[Path, Path]]


def test_a_sample_has_what_the_file_says(document: Document, write: Write) -> None:
    dataset = CocoDataset(*write(document))
    assert dataset.class_names == ("box", "ring")
    assert dataset.category_ids == (2, 5)
    assert dataset.image_ids == [7, 3]
    sample = dataset[0]
    assert sample.image.shape == (3, 10, 20)
    assert sample.image.dtype == torch.uint8
    assert sample.image_id == 7
    assert sample.path.name == "a.png"
    assert sample.labels.tolist() == [1, 0, 0]
    assert sample.iscrowd.tolist() == [False, False, True]
    # Boxes and areas that the file leaves out are measured on the masks.
    assert sample.boxes.tolist() == [[2, 3, 6, 7], [10, 5, 11, 6], [15, 0, 20, 10]]
    assert sample.areas.tolist() == [16, 1, 50]
    assert sample.masks.areas().tolist() == [16, 1, 50]
    assert sample.masks.to_bitmaps()[1, 5, 10]


def test_an_image_without_objects_gives_empty_tensors(document: Document, write: Write) -> None:
    sample = CocoDataset(*write(document))[1]
    assert len(sample) == 0
    assert sample.boxes.shape == (0, 4)
    assert sample.masks.shape == (0, 10, 20)
    assert to_target(sample)["labels"].dtype == torch.int64


def test_targets_count_labels_from_one_and_ignore_crowds(document: Document, write: Write) -> None:
    target = to_target(CocoDataset(*write(document))[0])
    assert target["labels"].tolist() == [2, 1]
    assert target["boxes"].shape == (2, 4)
    assert target["masks"].shape == (2, 10, 20)
    assert target["ignore"].tolist() == [[15, 0, 20, 10]]
    assert to_target(CocoDataset(*write(document))[1])["ignore"].shape == (0, 4)


def test_class_names_choose_and_order_the_labels(document: Document, write: Write) -> None:
    path, images = write(document)
    dataset = CocoDataset(path, images, class_names=["ring"])
    assert dataset.category_ids == (5,)
    assert dataset[0].labels.tolist() == [0]
    assert CocoDataset(path, images, class_names=["ring", "box"])[0].labels.tolist() == [0, 1, 1]


def test_objects_without_a_pixel_are_left_out(document: Document, write: Write) -> None:
    document["annotations"][0]["segmentation"] = [[40, 40, 50, 40, 50, 50]]
    assert CocoDataset(*write(document))[0].labels.tolist() == [0, 0]


def test_masks_without_a_pixel_and_crowds_are_nothing_to_learn(document: Document, write: Write) -> None:
    assert CocoDataset(*write(document)).has_objects()
    for annotation in document["annotations"]:
        if not annotation.get("iscrowd"):
            annotation["segmentation"] = [[50, 50, 60, 50, 60, 60]]  # off the image
    dataset = CocoDataset(*write(document))
    assert [int((~sample.iscrowd).sum()) for sample in dataset] == [0] * len(dataset)
    assert not dataset.has_objects()


def test_an_empty_box_is_measured_on_the_mask(document: Document, write: Write) -> None:
    document["annotations"][0]["bbox"] = [2, 3, 0, 4]
    assert CocoDataset(*write(document))[0].boxes[0].tolist() == [2, 3, 6, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("categories"), "expected a COCO object with a list 'categories'; got no such key"),
        (lambda d: d.update(images={}), "expected a COCO object with a list 'images'; got an object"),
        (lambda d: d.update(images=[]), "annotation 1: image_id 7 is not among the file's images"),
        (lambda d: d.update(images=[], annotations=[]), "expected at least one image; got an empty list"),
        (lambda d: d.update(categories=[]), "expected at least one category; got an empty list"),
        (lambda d: d["categories"].append({"id": 5, "name": "x"}), "category id 5 appears twice; expected unique ids"),
        (
            lambda d: d["categories"].append({"id": 6, "name": "box"}),
            "category name 'box' appears twice; expected unique names",
        ),
        (lambda d: d["categories"][0].pop("name"), "category at position 0: expected the key 'name'; got id"),
        (lambda d: d["images"].append(d["images"][0]), "image id 7 appears twice; expected unique ids"),
        (lambda d: d["images"][1].pop("height"), "image 3: expected the key 'height'; got id, file_name, width"),
        (lambda d: d["images"][1].update(height=0), "image 3: expected height and width of at least 1; got 0 and 20"),
        (lambda d: d["images"][1].update(id="3"), "image at position 1: id must be an integer; got a string"),
        (lambda d: d["annotations"].append(7), "annotation at position 3: expected an object; got an integer"),
        (lambda d: d["annotations"][1].update(id=1), "annotation id 1 appears twice; expected unique ids"),
        (
            lambda d: d["annotations"][1].update(category_id=9),
            "annotation 2: category_id 9 is not among the file's categories",
        ),
        (
            lambda d: d["annotations"][1].update(image_id=8),
            "annotation 2: image_id 8 is not among the file's images",
        ),
        (
            lambda d: d["annotations"][1].pop("segmentation"),
            "annotation 2: expected the key 'segmentation'; got id, image_id, category_id",
        ),
        (
            lambda d: d["annotations"][0].update(segmentation=[[1, 2]]),
            "annotation 1: segmentation: expected a polygon of at least 3 points (x, y); got 2 numbers",
        ),
        (
            lambda d: d["annotations"][0].update(bbox=[1, 2, 3]),
            "annotation 1: bbox must be four finite numbers (x, y, width, height); got [1, 2, 3]",
        ),
        (
            lambda d: d["annotations"][0].update(area="9"),
            "annotation 1: area must be a finite number, not negative; got '9'",
        ),
        (
            lambda d: d["annotations"][0].update(area=-16.0),
            "annotation 1: area must be a finite number, not negative; got -16.0",
        ),
        (
            lambda d: d["annotations"][0].update(bbox=[1e300, 0, 1, 1]),
            "annotation 1: bbox must be four finite numbers (x, y, width, height); got [1e+300, 0, 1, 1]",
        ),
        (lambda d: d["images"][1].update(id=-3), "image at position 1: id must be within 0..2^63 - 1; got -3"),
        (lambda d: d["images"][1].update(width=20.5), "image 3: width must be an integer; got a float"),
        (lambda d: d["images"][1].update(file_name="a.png"), "image 3: file_name 'a.png' is that of image 7 already"),
        (lambda d: d["annotations"][0].update(iscrowd=2), "annotation 1: iscrowd must be 0 or 1; got 2"),
    ],
)
def test_mistakes_in_the_annotations(
    document: Document, write: Write, change: Callable[[Document], object], message: str
) -> None:
    change(document)
    path, images = write(document)
    with pytest.raises(UserError) as caught:
        CocoDataset(path, images)
    assert str(caught.value) == f"{path}: {message}"


def test_whole_numbers_may_be_written_as_floats(document: Document, write: Write) -> None:
    expected = CocoDataset(*write(document))[0]
    document["images"][0].update(id=7.0, height=10.0, width=20.0)
    document["annotations"][1]["segmentation"]["size"] = [10.0, 20.0]
    sample = CocoDataset(*write(document))[0]
    assert (sample.image_id, type(sample.image_id)) == (7, int)
    assert sample.masks.to_rle() == expected.masks.to_rle()


def test_images_in_sub_folders_with_any_name(document: Document, write: Write) -> None:
    document["images"][0]["file_name"] = "früh am Tag/ä b.png"
    path, images = write(document)
    (images / "früh am Tag").mkdir()
    (images / "a.png").rename(images / "früh am Tag" / "ä b.png")
    assert CocoDataset(path, images)[0].path == images / "früh am Tag" / "ä b.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "expected a JSON file with annotations; broken JSON at line 1, column 13: Expecting value"),
        ("[]", "expected a COCO object; got a list"),
    ],
)
def test_files_that_are_no_coco_object(write: Write, text: str, message: str) -> None:
    path, images = write(text)
    with pytest.raises(UserError) as caught:
        CocoDataset(path, images)
    assert str(caught.value) == f"{path}: {message}"


def test_missing_annotation_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: expected a JSON file with annotations; there is no such file$"):
        CocoDataset(tmp_path / "none.json", tmp_path)


def test_missing_images(document: Document, write: Write) -> None:
    path, images = write(document)
    (images / "b.png").unlink()
    with pytest.raises(UserError) as caught:
        CocoDataset(path, images)
    assert str(caught.value) == f"{images / 'b.png'}: no such file; {path} lists it as image 3"
    (images / "a.png").unlink()
    everything = r"a\.png: no such file \(and 1 more, that is all: name the folder of the images\); .* image 7$"
    with pytest.raises(UserError, match=everything):
        CocoDataset(path, images)
    shutil.rmtree(images)
    with pytest.raises(UserError) as caught:
        CocoDataset(path, images)
    assert str(caught.value) == f"{images}: expected the folder of the images; there is no such folder"


def test_unknown_class_name(document: Document, write: Write) -> None:
    path, images = write(document)
    with pytest.raises(UserError) as caught:
        CocoDataset(path, images, class_names=["box", "unicorn"])
    assert str(caught.value) == f"{path}: no category is named 'unicorn'; its categories are box, ring"


@pytest.mark.parametrize("names", [[], ["box", "box"]])
def test_class_names_that_give_no_labels(document: Document, write: Write, names: list[str]) -> None:
    path, images = write(document)
    with pytest.raises(UserError) as caught:
        CocoDataset(path, images, class_names=names)
    assert str(caught.value) == f"{path}: expected distinct class names, at least one; got {names}"


def test_positions_count_from_either_end(document: Document, write: Write) -> None:
    dataset = CocoDataset(*write(document), transforms=[ColorJitter(0.4)])
    assert torch.equal(dataset[-1].image, dataset[1].image)
    assert [sample.image_id for sample in dataset] == [7, 3]
    with pytest.raises(IndexError):
        dataset[2]


def test_an_image_of_another_size(document: Document, write: Write) -> None:
    document["images"][1].update(height=10, width=21)
    path, images = write(document)
    with pytest.raises(UserError) as caught:
        CocoDataset(path, images)[1]
    expected = f"expected 21 x 10 pixels (width x height), as {path} says; got 20 x 10"
    assert str(caught.value) == f"{images / 'b.png'}: {expected}"


def test_an_image_annotated_without_its_exif_orientation(document: Document, write: Write) -> None:
    document["images"][1].update(height=20, width=10)
    with pytest.raises(UserError, match=r"got 20 x 10 \(swapped, perhaps by the EXIF orientation, which is applied"):
        CocoDataset(*write(document))[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_does_not_decode_is_named_by_any_loader(document: Document, write: Write, workers: int) -> None:
    path, images = write(document)
    (images / "b.png").write_bytes((images / "a.png").read_bytes()[:80])
    loader = make_loader(CocoDataset(path, images), batch_size=1, workers=workers)
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(caught.value).startswith(f"{images / 'b.png'}: expected an image file; it does not decode")
    assert "\n" not in str(caught.value)


def test_batches_are_lists_of_images_targets_and_samples(document: Document, write: Write) -> None:
    dataset = CocoDataset(*write(document))
    images, targets, samples = collate([dataset[0], dataset[1]])
    assert [image.shape for image in images] == [(3, 10, 20)] * 2
    assert [len(target["labels"]) for target in targets] == [2, 0]
    assert [sample.image_id for sample in samples] == [7, 3]


def test_loaders_repeat_themselves_for_any_number_of_workers(document: Document, write: Write) -> None:
    path, images = write(document)

    def epochs(seed: int, workers: int) -> list[torch.Tensor]:
        dataset = CocoDataset(path, images, transforms=[HorizontalFlip(), ColorJitter(0.4)], seed=seed)
        loader = make_loader(dataset, batch_size=1, shuffle=True, seed=seed, workers=workers)
        found = []
        for epoch in range(3):
            dataset.set_epoch(epoch)
            found += [batch[0][0] for batch in loader]
        return found

    first = epochs(seed=4, workers=0)
    assert all(torch.equal(a, b) for a, b in zip(first, epochs(seed=4, workers=2), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, epochs(seed=5, workers=0), strict=True))
    assert len({image.sum().item() for image in first}) > 3
