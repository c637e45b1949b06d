"""The classifier of single objects whose backbone every run starts from."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.study.data import read_crops
from benchmarks.study.setting import Setting
from fastmrcnn.files import atomic_path, read_json, write_json
from fastmrcnn.models import BackboneConfig, InputConfig
from fastmrcnn.models.resnet import ResNet

WARMUP = 50  # steps
HELD_OUT = 10  # one crop in so many measures the accuracy


def pretrained_backbone(folder: Path, crops: Path, setting: Setting) -> tuple[Path, dict[str, Any]]:
    """The backbone's weights, trained once, for :func:`fastmrcnn.weights.load_backbone`; and what the training gave."""
    weights, facts = folder / "backbone.safetensors", folder / "backbone.json"
    with FileLock(folder / "backbone.lock"):
        if not facts.exists():  # written last
            net, found = train_classifier(*read_crops(crops, setting.crop_side), setting)
            with atomic_path(weights) as temporary:
                save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, temporary)
            write_json(facts, found)
    return weights, read_json(facts, expected="figures of the classifier")


def train_classifier(crops: Tensor, labels: Tensor, setting: Setting) -> tuple[ResNet, dict[str, Any]]:
    """A ResNet that tells the classes apart, and its accuracy on crops that it did not see."""
    start = time.monotonic()
    torch.manual_seed(setting.data_seed)
    held_out = torch.arange(len(crops)) % HELD_OUT == 0
    net = ResNet(BackboneConfig(depth=18, width=setting.width, norm="bn")).to(memory_format=torch.channels_last)
    head = nn.Linear(setting.width * 8, len(setting.classes))
    parameters = [*net.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=setting.crop_weight_decay)

    def logits(images: Tensor) -> Tensor:
        return head(net(normalised(images))[-1].mean(dim=(2, 3)))

    seen, wanted = crops[~held_out], labels[~held_out]
    for step in range(setting.crop_steps):
        falling = 0.5 * (1 + math.cos(math.pi * step / setting.crop_steps))
        for group in optimizer.param_groups:
            group["lr"] = setting.crop_learning_rate * falling * min(1.0, (step + 1) / WARMUP)
        chosen = torch.randint(len(seen), (setting.crop_batch,))
        loss = F.cross_entropy(logits(mirrored(seen[chosen])), wanted[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        guesses = torch.cat([logits(part).argmax(dim=1) for part in crops[held_out].split(setting.crop_batch)])
    accuracy = (guesses == labels[held_out]).float().mean().item()
    facts = {"crops": len(seen), "accuracy": round(accuracy, 4), "seconds": round(time.monotonic() - start, 1)}
    return net, facts


def normalised(images: Tensor) -> Tensor:
    """uint8 [N, 3, S, S] as the detectors' transform makes it of an image."""
    config = InputConfig()
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    return ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def mirrored(images: Tensor) -> Tensor:
    """Each image mirrored along x and along y with a probability of one half."""
    for axis in (2, 3):
        chosen = torch.rand(len(images), 1, 1, 1) < 0.5
        images = torch.where(chosen, images.flip(axis), images)
    return images
