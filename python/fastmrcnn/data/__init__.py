"""Annotations and image files to training samples, and the embedded procedural data set (``data.scenes``)."""

from fastmrcnn.data.dataset import CocoDataset, InstanceDataset, open_dataset
from fastmrcnn.data.loader import SampleLoader, batches_ahead, make_loader
from fastmrcnn.data.readers import DataFormat, read_annotations
from fastmrcnn.data.sample import Sample, Target, collate, to_target
from fastmrcnn.data.statistics import ChannelStatistics, measure_channels

__all__ = [
    "ChannelStatistics",
    "CocoDataset",
    "DataFormat",
    "InstanceDataset",
    "Sample",
    "SampleLoader",
    "Target",
    "batches_ahead",
    "collate",
    "make_loader",
    "measure_channels",
    "open_dataset",
    "read_annotations",
    "to_target",
]
