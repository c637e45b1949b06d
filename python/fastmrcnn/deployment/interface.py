"""What goes into an exported file and comes out of it: names, shapes, dtypes, and the text that the file carries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import fastmrcnn
from fastmrcnn.deployment.export_config import Inputs
from fastmrcnn.models.config import MaskRCNNConfig

KEY = "fastmrcnn"  # of the text in a file's metadata


@dataclass(frozen=True)
class Port:
    """One input or output."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    meaning: str

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.shape))}]: {self.meaning}"


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of the file of a model."""

    config: MaskRCNNConfig
    inputs: Inputs = "uint8"

    @property
    def inputs_of_file(self) -> list[Port]:
        channels = self.config.input.channels
        kind = {3: "RGB", 1: "grey"}.get(channels, f"{channels} channels")
        if self.inputs == "uint8":
            return [Port("images", "uint8", ("batch", channels, "height", "width"), f"{kind}, 0..255, all of one size")]
        if self.inputs == "float32":
            return [Port("images", "float32", ("batch", channels, "height", "width"), f"{kind}, 0..1, all of one size")]
        sides = f"{self.config.input.size_divisor}"
        return [
            Port(
                "pixels",
                "float32",
                ("batch", channels, "height", "width"),
                f"normalised, resized, padded with zeros at the bottom and the right to multiples of {sides}",
            ),
            Port("image_sizes", "int64", ("batch", 2), "height and width of each image without the padding"),
        ]

    @property
    def outputs_of_file(self) -> list[Port]:
        config, slots = self.config, capacity(self.config)
        frame = "the padded images" if self.inputs == "network" else "the images"
        ports = [
            Port("boxes", "float32", ("batch", slots, 4), f"x1, y1, x2, y2 in pixels of {frame}"),
            Port("scores", "float32", ("batch", slots), "descending, 0 in empty slots"),
            Port("labels", "int64", ("batch", slots), "indices into class_names, -1 in empty slots"),
            Port("counts", "int64", ("batch",), "detections of each image, which fill its first slots"),
        ]
        if config.mask_head is not None:
            cells = config.mask_head.pooler.output_size
            side = 2 * ((cells + 1) // 2 if config.neck == "c4" else cells)  # stage 5 halves what heads read
            meaning = "probabilities within the boxes, 0.5 or more is the object"
            ports.append(Port("masks", "float32", ("batch", slots, side, side), meaning))
        if config.keypoint_head is not None:
            count = len(config.keypoint_head.keypoint_names)
            meaning = f"x, y in pixels of {frame}, and the score"
            ports.append(Port("keypoints", "float32", ("batch", slots, count, 3), meaning))
        return ports

    def as_metadata(self) -> dict[str, str]:
        """For the metadata of a file: under the key "fastmrcnn" all of it, the rest for who reads it."""
        config = self.config
        own = {"version": fastmrcnn.__version__, "inputs": self.inputs, "config": config.to_dict()}
        texts = {
            KEY: json.dumps(own),
            "class_names": json.dumps(config.class_names),
            "category_ids": json.dumps(config.category_ids),
            "inputs": "\n".join(map(str, self.inputs_of_file)),
            "outputs": "\n".join(map(str, self.outputs_of_file)),
        }
        if config.mask_head is not None:
            texts["mask_paste"] = config.mask_head.paste
        if config.keypoint_head is not None:
            texts["keypoint_names"] = json.dumps(config.keypoint_head.keypoint_names)
        return texts

    @staticmethod
    def from_metadata(metadata: dict[str, str]) -> Interface:
        """The inverse of :meth:`as_metadata`; ``KeyError`` where the file is another's."""
        own: dict[str, Any] = json.loads(metadata[KEY])
        return Interface(MaskRCNNConfig.from_dict(own["config"]), own["inputs"])


def capacity(config: MaskRCNNConfig) -> int:
    """Slots for the detections of an image."""
    return config.rpn.post_nms_test if config.box_head is None else config.box_head.detections
