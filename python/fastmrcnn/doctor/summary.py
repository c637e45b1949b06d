"""What is printed: the problems by kind, the numbers, and what the anchors cover."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fastmrcnn.doctor.anchors import AnchorReport
from fastmrcnn.doctor.config import FailOn
from fastmrcnn.doctor.problem import SEVERITIES, Kind, Problem, Severity
from fastmrcnn.doctor.statistics import Statistics

MEANINGS: dict[Severity, str] = {
    "error": "what training or evaluation refuses",
    "warning": "what training accepts and suffers from",
    "note": "worth knowing",
}


def by_kind(problems: Sequence[Problem]) -> dict[Kind, list[Problem]]:
    """Problems of each kind: the severe kinds first, then those that occur most."""
    groups: dict[Kind, list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[problem.kind].append(problem)
    order = sorted(groups, key=lambda kind: (SEVERITIES.index(kind.severity), -len(groups[kind])))
    return {kind: groups[kind] for kind in order}


def describe_problems(problems: Sequence[Problem], shown: int, *, repairs: bool) -> str:
    """The kinds with their counts, and the first ``shown`` of each with file, annotation and, if made, repair."""
    lines = []
    severity = None
    for kind, group in by_kind(problems).items():
        if kind.severity != severity:
            severity = kind.severity
            lines.append(f"{severity}s: {MEANINGS[severity]}")
        lines.append(f"  {kind.name} ({len(group)}): {kind.title}")
        for problem in group[:shown]:
            lines.append(f"    {problem}" + (f" -> {problem.repair}" if repairs else ""))
        if 0 < shown < len(group):
            lines.append(f"    ... and {len(group) - shown} more")
    return "\n".join(lines or ["no problem found"])


def describe_statistics(name: str, statistics: Statistics) -> str:
    """The main numbers of a split in a few lines, and its classes."""
    return "\n".join(_statistics_lines(name, statistics))


def _statistics_lines(name: str, numbers: Statistics) -> Iterator[str]:
    if not numbers.images:
        yield f"{name}: no image that can be trained on"
        return
    common = ", ".join(f"{size} ({count})" for size, count in list(numbers.image_sizes.items())[:3])
    more = f" and {len(numbers.image_sizes) - 3} other sizes" if len(numbers.image_sizes) > 3 else ""
    yield f"{name}: {numbers.images} images ({numbers.images_without_objects} without objects): {common}{more}"
    rle = numbers.objects - numbers.polygons
    yield f"  {numbers.objects} objects ({numbers.polygons} polygons, {rle} run lengths), crowds: {numbers.crowds}"
    if numbers.objects:
        tiny = f", {numbers.one_pixel_masks} of one pixel" if numbers.one_pixel_masks else ""
        yield f"  small {numbers.small}, medium {numbers.medium}, large {numbers.large}{tiny}"
        yield f"  side {_range(numbers.object_side)} px; height / width {_range(numbers.aspect_ratio)}"
        yield f"  an image has {_range(numbers.objects_per_image)} objects"
    width = max((len(item.name) for item in numbers.classes), default=0)
    for item in numbers.classes:
        yield f"  {item.name:<{width}}  {item.objects:>8} objects {item.share:>6.1%} in {item.images} images"


def describe_anchors(report: AnchorReport, model: str) -> str:
    """What the anchors cover, and which would cover more."""
    found = report.coverage
    lines = [
        f"anchors of {model} at its image size: {found.good:.1%} of {report.objects} objects have one with an IoU of "
        f"0.5, {found.matched:.1%} one of {found.foreground_iou:g}; the best has {found.mean:.2f} on average"
    ]
    for share, what in ((report.smaller, "half of the smallest"), (report.larger, "twice the largest")):
        if share >= 0.05:
            side = "below" if what.startswith("half") else "above"
            lines.append(f"  {share:.1%} of the objects are {side} {what} anchor: consider --min-size and --max-size")
    if report.suggested is not None:
        lines.append(f"  suggestion: train with {report.options}, for {report.suggested.good:.1%}")
    return "\n".join(lines)


def exit_code(problems: Sequence[Problem], fail_on: FailOn) -> int:
    """1 where a problem is at least as severe as ``fail_on``, else 0."""
    if fail_on == "never":
        return 0
    refused = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return int(any(problem.kind.severity in refused for problem in problems))


def _range(percentiles: Sequence[float]) -> str:
    low, _, median, _, high = percentiles
    return f"{low:.4g} to {high:.4g}, half below {median:.4g}"
