"""``fastmrcnn doctor``: examine, print, write what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastmrcnn.doctor.anchors import report_anchors
from fastmrcnn.doctor.config import DoctorConfig
from fastmrcnn.doctor.examination import Split, examine, problems_of
from fastmrcnn.doctor.page import write_page
from fastmrcnn.doctor.problem import SEVERITIES
from fastmrcnn.doctor.repair import REPAIRS, kept_images, write_repaired
from fastmrcnn.doctor.statistics import measure
from fastmrcnn.doctor.summary import describe_anchors, describe_problems, describe_statistics, exit_code
from fastmrcnn.errors import UserError
from fastmrcnn.files import check_writable, write_json
from fastmrcnn.models import MaskRCNNConfig
from fastmrcnn.training.architectures import architecture
from fastmrcnn.training.start import with_sizes
from fastmrcnn.weights import load_model


def run_doctor(dataset: Path, config: DoctorConfig) -> int:
    """Check ``dataset``, print what was found, and write the files that ``config`` names.

    Returns:
        The exit code: 0, or 1 where a problem is as severe as ``config.fail_on``.

    Raises:
        UserError: the data set cannot be read at all, or a file cannot be written.
    """
    if config.fix is not None and config.fix.exists():  # told before the images are decoded, not after
        raise UserError(f"{config.fix}: expected a new folder for the repaired copy; it exists already")
    _check_outputs(dataset, config)
    model = _model_config(config)
    splits = examine(dataset, config, progress=True)
    problems = problems_of(splits)
    statistics = [measure(split.content, split.images) for split in splits]
    anchors = report_anchors(splits[0].images, model)
    name = config.weights or config.model
    print(describe_problems(problems, config.shown, repairs=config.fix is not None))
    for split, numbers in zip(splits, statistics, strict=True):
        print(describe_statistics(split.name, numbers))
    if anchors is not None:
        print(describe_anchors(anchors, name))
    if config.json is not None:
        counts = {severity: sum(problem.kind.severity == severity for problem in problems) for severity in SEVERITIES}
        document = {
            "counts": counts,
            "problems": [problem.to_dict() for problem in problems],
            "statistics": {split.name: numbers.to_dict() for split, numbers in zip(splits, statistics, strict=True)},
            "anchors": None if anchors is None else anchors.to_dict() | {"model": name},
        }
        write_json(config.json, document, indent=1)
        print(f"problems: {config.json}")
    if config.report is not None:
        write_page(config.report, splits, statistics, anchors, name, repairs=config.fix is not None)
        print(f"page:     {config.report}")
    if config.fix is not None:
        _fix(splits, config.fix, link=config.fix_images == "link")
    return exit_code(problems, config.fail_on)


def _check_outputs(dataset: Path, config: DoctorConfig) -> None:
    """``UserError`` where the numbers or the page would replace the annotations (no data set is written to), and where
    what is asked for cannot be written."""
    examined = {path.resolve() for path in (dataset, config.val) if path is not None}
    for name, path in (("json", config.json), ("report", config.report)):
        if path is not None and path.resolve() in examined:
            raise UserError(f"{name}: expected a file to write, which may not be the data set itself; got {path}")
    for path in (config.json, config.report, config.fix):
        if path is not None:
            check_writable(path)


def _model_config(config: DoctorConfig) -> MaskRCNNConfig:
    known = architecture(config.model, ("object",)) if config.weights is None else load_model(config.weights).config
    return replace(known, input=with_sizes(known.input, config.min_size, config.max_size))


def _fix(splits: list[Split], folder: Path, *, link: bool) -> None:
    files = write_repaired(splits, folder, link=link)
    words = [
        f"--{kind}-annotations {file} --{kind}-images {file.with_suffix('')}"
        for kind, file, split in zip(("train", "eval"), files, splits, strict=False)
        if kept_images(split)
    ]
    print(f"repaired: {folder} ({folder / REPAIRS} lists what was done)")
    if kept_images(splits[0]):
        print(f"next:     fastmrcnn train {' '.join(words)}")
    else:
        print(f"nothing to train on: {files[0]} has no image left")
