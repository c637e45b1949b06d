"""Ways to plant a fault in a sound COCO file and its images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from tests.doctor.patients import HEIGHT, WIDTH, Document, Plant, write_image


def of(number: int, **values: Any) -> Plant:
    """Set values of the annotation with an id."""

    def plant(document: Document, images: Path) -> None:
        document["annotations"][number - 1] |= values

    return plant


def without(number: int, key: str) -> Plant:
    def plant(document: Document, images: Path) -> None:
        del document["annotations"][number - 1][key]

    return plant


def image(number: int, **values: Any) -> Plant:
    def plant(document: Document, images: Path) -> None:
        document["images"][number - 1] |= values

    return plant


def appended(key: str, entry: Any) -> Plant:
    def plant(document: Document, images: Path) -> None:
        document[key].append(entry)

    return plant


def copied(number: int, **values: Any) -> Plant:
    """An annotation once more, with other values."""

    def plant(document: Document, images: Path) -> None:
        document["annotations"].append(document["annotations"][number - 1] | values)

    return plant


def damaged(document: Document, images: Path) -> None:
    content = (images / "2.png").read_bytes()
    (images / "2.png").write_bytes(content[: len(content) // 2])


def not_an_image(document: Document, images: Path) -> None:
    (images / "2.png").write_text("no image")


def removed(document: Document, images: Path) -> None:
    (images / "2.png").unlink()


def moved(document: Document, images: Path) -> None:
    (images / "deep").mkdir()
    (images / "2.png").rename(images / "deep" / "2.PNG")


def other_size(document: Document, images: Path) -> None:
    write_image(images / "2.png", 2, WIDTH, HEIGHT)  # on its side


def sides_exchanged(document: Document, images: Path) -> None:
    document["images"][1] |= {"height": WIDTH, "width": HEIGHT}  # one of its objects reaches to x = 39


def turned_by_exif(document: Document, images: Path) -> None:
    """The pixels are stored as the annotations have them; the orientation says to turn them."""
    picture = Image.open(images / "2.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(images / "2.png", exif=exif)


def ids_from_zero(document: Document, images: Path) -> None:
    for annotation in document["annotations"]:
        annotation["category_id"] -= 1


def ids_too_high(document: Document, images: Path) -> None:
    for annotation in document["annotations"]:
        annotation["category_id"] += 1


def fractions(document: Document, images: Path) -> None:
    for annotation in document["annotations"]:
        if isinstance(annotation["segmentation"], list):
            sides = [WIDTH, HEIGHT] * 4
            annotation["segmentation"] = [
                [value / side for value, side in zip(annotation["segmentation"][0], sides, strict=True)]
            ]
            annotation["bbox"] = [
                value / side for value, side in zip(annotation["bbox"], [WIDTH, HEIGHT] * 2, strict=True)
            ]


def one_crowd_too_many(document: Document, images: Path) -> None:
    for annotation in document["annotations"]:
        annotation["iscrowd"] = 1


def twins(document: Document, images: Path) -> None:
    shutil.copyfile(images / "1.png", images / "3.png")


def unlisted(document: Document, images: Path) -> None:
    write_image(images / "9.png", 9)


def without_ids(document: Document, images: Path) -> None:
    del document["annotations"][4:6]


def image_alone(document: Document, images: Path) -> None:
    document["annotations"] = [item for item in document["annotations"] if item["image_id"] != 3]


def class_alone(document: Document, images: Path) -> None:
    document["categories"].append({"id": 3, "name": "tree"})
