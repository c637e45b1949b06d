"""Readers of annotations: each turns one format into :class:`fastmrcnn.data.annotations.Annotations`."""

from fastmrcnn.data.readers.coco import read_coco
from fastmrcnn.data.readers.formats import DataFormat, find_format, read_annotations, read_as
from fastmrcnn.data.readers.source import Skipped, Source

__all__ = ["DataFormat", "Skipped", "Source", "find_format", "read_annotations", "read_as", "read_coco"]
