"""The scenes of the study, written once as ordinary images and COCO JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor

from benchmarks.study.setting import Setting
from fastmrcnn.data import InstanceDataset, open_dataset
from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.files import read_json, write_json


@dataclass(frozen=True)
class Scenes:
    """The folders of three sets of scenes that share no image."""

    train: Path
    val: Path
    crops: Path  # for the classifier


def prepare_scenes(folder: Path, setting: Setting) -> Scenes:
    """Write what is not there yet; SystemExit where the folder holds the scenes of another setting."""
    counts = {"train": setting.train_images, "val": setting.val_images, "crops": setting.crop_scenes}
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "scenes.lock"):  # several processes may share the runs among them
        remember_setting(folder / "setting.json", setting)
        for split, images in counts.items():
            if not (folder / split / "annotations.json").exists():  # written last
                write_dataset(
                    folder / split,
                    images=images,
                    seed=setting.data_seed,
                    split=split,
                    size=(setting.side, setting.side),
                    classes=setting.classes,
                )
    return Scenes(*(folder / split for split in counts))


def remember_setting(path: Path, setting: Setting) -> None:
    """Write the setting beside what is made from it; SystemExit where another one is written there."""
    if not path.exists():
        write_json(path, setting.to_dict())
    found = read_json(path, expected="the setting of a study")
    for name, value in setting.to_dict().items():
        if found.get(name) != value:
            raise SystemExit(f"{path}: expected {name} {value}; got {found.get(name)}: name another --folder")


def open_scenes(folder: Path) -> InstanceDataset:
    return open_dataset(folder / "annotations.json", folder / "images")


def read_crops(folder: Path, side: int) -> tuple[Tensor, Tensor]:
    """Every object with a margin around it: uint8 [N, 3, side, side], and its class, int64 [N]."""
    scenes = open_scenes(folder)
    crops, labels = [], []
    for index in range(len(scenes)):
        sample = scenes[index]
        for box, label, is_crowd in zip(sample.boxes, sample.labels, sample.iscrowd, strict=True):
            if not is_crowd:
                crops.append(_crop(sample.image, box, side))
                labels.append(label)
    return torch.stack(crops), torch.stack(labels)


def _crop(image: Tensor, box: Tensor, side: int) -> Tensor:
    """The square around a box, a third larger, as far as it lies in the image, resized."""
    centre, reach = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * 0.65 + 2
    x1, y1 = (int(max(0.0, float(value))) for value in centre - reach)
    x2, y2 = (int(value) + 1 for value in centre + reach)
    pixels = image[None, :, y1:y2, x1:x2].float()
    resized = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return resized[0].round().to(torch.uint8)
