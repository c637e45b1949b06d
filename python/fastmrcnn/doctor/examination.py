"""One split or two, examined: every problem, and what is sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastmrcnn.data.annotations import Annotations
from fastmrcnn.data.mistakes import InvalidSegmentation, MissingImage, UndecodableImage, UnknownCategory
from fastmrcnn.data.readers import DataFormat, Skipped, Source, find_format, read_as
from fastmrcnn.doctor.coco import CocoEntries, read_coco_to_the_end
from fastmrcnn.doctor.config import DoctorConfig
from fastmrcnn.doctor.images import ExaminedImage, examine_images, find_unlisted
from fastmrcnn.doctor.labels import check_classes, check_ids, find_shift
from fastmrcnn.doctor.problem import (
    INVALID_ANNOTATION,
    INVALID_POLYGON,
    LABEL_OFF_BY_ONE,
    LEFT_OUT,
    MISSING_IMAGE,
    UNDECODABLE_IMAGE,
    UNKNOWN_CATEGORY,
    Findings,
    Problem,
)
from fastmrcnn.doctor.splits import compare_classes, find_duplicates, find_leakage
from fastmrcnn.errors import UserError
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.structures import RGB, PixelFormat


@dataclass
class Split:
    """One data set after the examination.

    Attributes:
        name: "train" or "val".
        content: its annotations, as far as they can be read.
        images: all listed ones, with their sound objects.
        findings: its problems.
        entries: of a COCO file, what training does not read.
        leaked: ids of its images that the validation has too.
        pixel_format: that images are read as.
    """

    name: str
    content: Annotations
    images: list[ExaminedImage]
    findings: Findings
    entries: CocoEntries | None = None
    leaked: frozenset[int] = frozenset()
    pixel_format: PixelFormat = RGB


def examine(dataset: Path, config: DoctorConfig, *, progress: bool = False) -> list[Split]:
    """Examine a data set, and that of the validation where the configuration names one.

    Raises:
        UserError: a path is missing, in no known format, or cannot be read at all.
    """
    splits = [_examine_split("train", Source(dataset, config.images, config.split), config, progress)]
    if config.val is not None:
        source = Source(config.val, config.val_images or config.images, config.val_split)
        splits.append(_examine_split("val", source, config, progress))
        train, val = splits
        compare_classes(train.content, val.content, train.images, val.images, val.findings)
        train.leaked = frozenset(find_leakage(train.images, val.images, val.content.folder, train.findings))
    find_unlisted([(split.content, split.findings) for split in splits])
    return splits


def problems_of(splits: Sequence[Split]) -> list[Problem]:
    """All problems of all splits."""
    return [problem for split in splits for problem in split.findings.problems]


def _examine_split(name: str, source: Source, config: DoctorConfig, progress: bool) -> Split:
    skipped: list[Skipped] = []
    source, format = find_format(replace(source, skipped=skipped), config.data_format)
    findings = Findings(name, str(source.path))
    content, entries = _read(source, format, findings)
    for what, found in (("image", content.images), ("class", content.categories)):
        if not found:
            raise UserError(
                f"{source.path}: expected at least one {what}; got none that can be read{_first(findings, skipped)}"
            )
    examined = []
    pixel_format = PixelFormat(config.channels, config.white_level)
    options: dict[str, Any] = {"pixel_format": pixel_format, "decode": config.decode, "workers": config.workers}
    images = examine_images(content, findings, **options)
    with progress_bar(len(content.images), name, "image", shown=progress) as bar:
        for image in images:
            findings.problems += image.findings.problems
            examined.append(image)
            bar.update()
    _note_skipped(skipped, findings)
    if format == "coco":  # elsewhere the reader counts
        for kind, ids in _ids(content, entries).items():
            check_ids(kind, ids, findings)
    check_classes(content, examined, findings)
    find_duplicates(examined, content.folder, findings)
    return Split(name, content, examined, findings, entries, pixel_format=pixel_format)


def _read(source: Source, format: DataFormat, findings: Findings) -> tuple[Annotations, CocoEntries | None]:
    if format == "coco":
        return read_coco_to_the_end(source, findings)
    content = _read_tolerantly(source, format)
    shift = _shift_of(source, content)
    if shift:
        for part in source.skipped or ():
            if isinstance(part.error, UnknownCategory):
                text = f"{_text_of(part)}: all classes seem off by {-shift:+d}"
                where: dict[str, Any] = {"file": part.file, "image": part.image, "annotation": part.annotation}
                findings.add(LABEL_OFF_BY_ONE, text, **where, repair=f"{shift:+d} on the class of every object")
        assert source.skipped is not None
        source.skipped.clear()
        content = _read_tolerantly(replace(source, shift=shift), format)
    return content, None


def _read_tolerantly(source: Source, format: DataFormat) -> Annotations:
    try:
        return read_as(source, format)
    except UserError as error:
        # What was left out on the way tells more than that nothing is left.
        if source.skipped:
            raise UserError(f"{error}; {len(source.skipped)} mistakes before: {source.skipped[0].error}") from None
        raise


def _ids(content: Annotations, entries: CocoEntries | None) -> dict[str, set[int]]:
    annotations = set() if entries is None else set(entries.annotations)
    return {"category": set(content.categories), "image": set(content.images), "annotation": annotations}


def _note_skipped(skipped: list[Skipped], findings: Findings) -> None:
    """What a tolerant reader left out, as problems; threads may have appended it in any order."""
    for part in sorted(skipped, key=lambda part: (part.file, part.image, str(part.annotation))):
        kind = next((kind for type_, kind in _KINDS.items() if isinstance(part.error, type_)), INVALID_ANNOTATION)
        where: dict[str, Any] = {"file": part.file, "image": part.image, "annotation": part.annotation}
        findings.add(kind, _text_of(part), **where, repair=LEFT_OUT)


def _text_of(part: Skipped) -> str:
    return str(part.error).removeprefix(f"{part.file}: ")


def _shift_of(source: Source, content: Annotations) -> int:
    """Only where a reader has met numbers without a name are objects looked at: masks may be files, to be decoded."""
    unknown = {part.error.number for part in source.skipped or () if isinstance(part.error, UnknownCategory)}
    if not unknown:
        return 0
    used = {item.category_id for items in content.objects.values() for item in items}
    return find_shift(used | unknown, content.categories)


def _first(findings: Findings, skipped: list[Skipped]) -> str:
    """What went wrong first, for the message that nothing is left."""
    texts = [str(part.error) for part in skipped] + [problem.text for problem in findings.problems]
    return f": {texts[0]}" if texts else ""


_KINDS = {
    MissingImage: MISSING_IMAGE,
    UndecodableImage: UNDECODABLE_IMAGE,
    InvalidSegmentation: INVALID_POLYGON,
    UnknownCategory: UNKNOWN_CATEGORY,
}
