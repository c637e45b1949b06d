"""The page of a check: the problems with pictures of where they are, the numbers, and some samples to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fastmrcnn.data import InstanceDataset
from fastmrcnn.data.annotations import Annotations
from fastmrcnn.data.pictures import displayable, draw_sample
from fastmrcnn.data.transforms import resize
from fastmrcnn.doctor.anchors import AnchorReport
from fastmrcnn.doctor.examination import Split, problems_of
from fastmrcnn.doctor.problem import Box, Kind, Problem
from fastmrcnn.doctor.repair import kept_images
from fastmrcnn.doctor.statistics import PERCENTILES, Statistics, object_boxes
from fastmrcnn.doctor.summary import MEANINGS, by_kind, describe_anchors
from fastmrcnn.errors import UserError
from fastmrcnn.structures import PixelFormat, read_image
from fastmrcnn.visualisation import Curve, Panel, Report, draw_instances
from fastmrcnn.visualisation.report import Cell

_LISTED = 1000  # problems of a kind on the page; the JSON file has all
_PICTURED = 6  # problems of a kind with a picture
_SAMPLES = 12  # of each split
_SIDE = 640  # pixels of the longer side of a picture


def write_page(
    path: Path,
    splits: Sequence[Split],
    statistics: Sequence[Statistics],
    anchors: AnchorReport | None,
    model: str,
    *,
    repairs: bool,
) -> None:
    """Write the page to ``path``; ``repairs`` adds what the repaired copy has."""
    problems = problems_of(splits)
    groups = by_kind(problems)
    report = Report("fastmrcnn doctor", ", ".join(split.content.path for split in splits))
    report.facts(_facts(statistics, problems))
    report.section("Problems", "An error is what training or evaluation refuses, a warning what they suffer from.")
    rows: list[list[Cell]] = [[kind.name, kind.severity, len(group), kind.title] for kind, group in groups.items()]
    if rows:
        report.table(["kind", "severity", "found", "what it is"], rows)
    else:
        report.text("None was found.")
    for kind, group in groups.items():
        _problem_section(report, kind, group, splits, repairs)
    for split, numbers in zip(splits, statistics, strict=True):
        _statistics_section(report, split, numbers)
    if anchors is not None:
        report.section("Anchors")
        report.code(describe_anchors(anchors, model))
    report.save(path)


def _facts(statistics: Sequence[Statistics], problems: Sequence[Problem]) -> dict[str, int]:
    severities = [problem.kind.severity for problem in problems]
    return {
        "images": sum(numbers.images for numbers in statistics),
        "objects": sum(numbers.objects for numbers in statistics),
        "classes": len({item.name for numbers in statistics for item in numbers.classes}),
    } | {f"{severity}s": severities.count(severity) for severity in MEANINGS}


def _problem_section(
    report: Report, kind: Kind, group: Sequence[Problem], splits: Sequence[Split], repairs: bool
) -> None:
    report.section(kind.name, f"{kind.title[0].upper()}{kind.title[1:]}: {len(group)}.")
    split_of = {split.name: split for split in splits}
    pairs, pictures = [], []
    for problem in [problem for problem in group if problem.image][:_PICTURED]:
        split = split_of[problem.split]
        picture = _picture(split.content.folder / problem.image, split.pixel_format, problem.box, kind.name)
        twin = _picture(Path(problem.twin), split.pixel_format) if problem.twin else None
        if picture is not None and twin is not None:
            pairs.append(([picture, twin], str(problem)))
        elif picture is not None:
            pictures.append((picture, str(problem)))
    if pairs:
        report.comparisons(["this image", "the other one"], pairs)
    if pictures:
        report.images(pictures)
    columns = ["file", "image", "annotation", "problem"] + (["repaired copy"] if repairs else [])
    rows: list[list[Cell]] = []
    for problem in group[:_LISTED]:
        number = "" if problem.annotation is None else str(problem.annotation)
        repair = [problem.repair] if repairs else []
        rows.append([problem.file, problem.image, number, problem.text, *repair])
    more = f"The first {_LISTED} of {len(group)}; the file of --json has all." if len(group) > _LISTED else ""
    report.table(columns, rows, caption=more)


def _statistics_section(report: Report, split: Split, numbers: Statistics) -> None:
    report.section(f"The {split.name} split", split.content.path)
    report.facts(
        {
            "images": numbers.images,
            "without objects": numbers.images_without_objects,
            "objects": numbers.objects,
            "crowds": numbers.crowds,
            "small": numbers.small,
            "medium": numbers.medium,
            "large": numbers.large,
            "of one pixel": numbers.one_pixel_masks,
        }
    )
    columns = ["class", "images", "objects", "share", "crowds", "median area"]
    report.table(
        columns,
        [[item.name, item.images, item.objects, item.share, item.crowds, item.median_area] for item in numbers.classes],
    )
    percentiles = {
        "image width, px": numbers.image_width,
        "image height, px": numbers.image_height,
        "objects an image": numbers.objects_per_image,
        "side of a box, px": numbers.object_side,
        "height / width of a box": numbers.aspect_ratio,
    }
    rows: list[list[Cell]] = [[name, *values] for name, values in percentiles.items() if values]
    report.table(["percentile", *map(str, PERCENTILES)], rows)
    if numbers.objects:
        report.curves(_side_panel(split))
    report.images([(picture, caption) for picture, caption in _samples(split)])


def _side_panel(split: Split) -> Panel:
    """How many objects have which size, in octaves."""
    boxes = object_boxes(split.images)
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    octaves, counts = np.unique(np.floor(np.log2(sides)).astype(int), return_counts=True)
    found = dict(zip(octaves.tolist(), counts.tolist(), strict=True))
    places = range(min(found), max(found) + 1)
    curve = Curve("objects", list(places), [found.get(place, 0) for place in places])
    return Panel([curve], "Objects by size", "side of the box, log2 of pixels", "objects", markers=True)


def _samples(split: Split) -> Iterator[tuple[Image.Image, str]]:
    """Sound images with their sound objects, spread over the split, as training reads them."""
    kept = [image for image in kept_images(split) if not image.as_stored]  # those cannot be read as they lie there
    chosen = [kept[int(place)] for place in np.linspace(0, len(kept) - 1, min(_SAMPLES, len(kept)))]
    if not chosen:
        return
    content: Annotations = replace(
        split.content,
        images={image.record.id: image.record for image in chosen},
        objects={image.record.id: image.measured.objects for image in chosen},
    )
    dataset = InstanceDataset(content)
    dataset.read_pixels_as(split.pixel_format)
    for sample in (dataset[index] for index in range(len(dataset))):
        height, width = sample.image.shape[-2:]
        scale = min(1.0, _SIDE / max(height, width))
        small = resize(sample, max(round(height * scale), 1), max(round(width * scale), 1))
        yield draw_sample(small, dataset.class_names, zoom=_zoom(small.image.shape[-1])), sample.path.name


def _picture(path: Path, pixel_format: PixelFormat, box: Box | None = None, name: str = "") -> Image.Image | None:
    """The image with the box of a problem; None where it cannot be read."""
    try:
        image = Image.fromarray(displayable(read_image(path, pixel_format)))
    except (UserError, ValueError):  # ValueError: a name that no file can have
        return None
    scale = min(1.0, _SIDE / max(image.size))
    small = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
    boxes = [] if box is None else [[value * scale for value in box]]
    return draw_instances(small, boxes, labels=[3] * len(boxes), names=[name] * len(boxes), zoom=_zoom(small.width))


def _zoom(width: int) -> int:
    """Small images are enlarged, so that lines and names stay fine."""
    return max(1, min(4, 320 // max(width, 1)))
