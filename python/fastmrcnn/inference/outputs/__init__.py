"""What a run writes. A new kind of output is one class in a module of its own, and its name here and in the config."""

from __future__ import annotations

from fastmrcnn.inference.config import OutputKind, PredictConfig
from fastmrcnn.inference.outputs.annotated_video import AnnotatedVideo
from fastmrcnn.inference.outputs.coco import CocoResults
from fastmrcnn.inference.outputs.crops import Crops
from fastmrcnn.inference.outputs.geojson import GeoJson
from fastmrcnn.inference.outputs.json_lines import JsonLines
from fastmrcnn.inference.outputs.label_images import LabelImages
from fastmrcnn.inference.outputs.labelme import LabelMe
from fastmrcnn.inference.outputs.output import Output, Run
from fastmrcnn.inference.outputs.overlays import Overlays
from fastmrcnn.inference.outputs.table import Table
from fastmrcnn.inference.outputs.yolo import Yolo

__all__ = ["OUTPUTS", "Output", "Run", "chosen"]

OUTPUTS: dict[OutputKind, type[Output]] = {
    "coco": CocoResults,
    "overlays": Overlays,
    "csv": Table,
    "crops": Crops,
    "geojson": GeoJson,
    "labelme": LabelMe,
    "yolo": Yolo,
    "labels": LabelImages,
    "jsonl": JsonLines,
    "video": AnnotatedVideo,
}


def chosen(config: PredictConfig) -> list[type[Output]]:
    """The kinds of output that a configuration asks for."""
    return [OUTPUTS[name] for name in dict.fromkeys(config.save)]
