"""Annotations and image files to training samples, and the embedded procedural data set (``data.scenes``)."""

from fastmrcnn.data.dataset import CocoDataset, InstanceDataset, open_dataset
from fastmrcnn.data.loader import SampleLoader, make_loader
from fastmrcnn.data.readers import DataFormat, read_annotations
from fastmrcnn.data.sample import Sample, Target, collate, to_target

__all__ = [
    "CocoDataset",
    "DataFormat",
    "InstanceDataset",
    "Sample",
    "SampleLoader",
    "Target",
    "collate",
    "make_loader",
    "open_dataset",
    "read_annotations",
    "to_target",
]
