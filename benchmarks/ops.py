"""Operators against torchvision's, in one process, on the same inputs; results are compared before anything is timed.

    python benchmarks/ops.py [--threads 1 2] [--only roi_align] [--json results.json]

Timings alternate between the two. The table shows the minimum of the rounds, on a shared machine the least disturbed;
the JSON file holds the medians too.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
import workloads
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from fastmrcnn import ops
from fastmrcnn.__main__ import environment

Case = tuple[str, Callable[[], Any], Callable[[], Any], Callable[[Any, Any], None]]


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds, minima unless said otherwise."""

    case: str
    threads: int
    peer_ms: float
    ours_ms: float
    ratio: float
    peer_median_ms: float
    ours_median_ms: float
    rounds: int


def same_values(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def identical(ours: Tensor, theirs: Tensor) -> None:
    assert torch.equal(ours, theirs), "results differ"


def roi_align_cases() -> Iterator[Case]:
    regions = workloads.rois(512)
    for layout in (torch.contiguous_format, torch.channels_last):
        name = "NHWC" if layout == torch.channels_last else "NCHW"
        feature = workloads.feature_map(8).to(memory_format=layout)
        for label, size, sampling, aligned in (
            ("7x7 s=2", 7, 2, False),
            ("7x7 adaptive aligned", 7, 0, True),
            ("14x14 s=2", 14, 2, False),
        ):
            arguments = (regions if size == 7 else regions[:100], size, 1 / 8, sampling, aligned)
            yield (
                f"roi_align {label} {name}",
                lambda f=feature, a=arguments: torchvision.ops.roi_align(f, *a),
                lambda f=feature, a=arguments: ops.roi_align(f, *a),
                same_values,
            )
        yield backward_case(f"roi_align backward 7x7 s=2 {name}", feature, (regions, 7, 1 / 8, 2, False))


def backward_case(name: str, feature: Tensor, arguments: tuple[Any, ...]) -> Case:
    """The gradient alone: the graph is built once and kept."""
    outputs = {}
    for module in (torchvision.ops, ops):
        leaf = feature.clone(memory_format=torch.preserve_format).requires_grad_()
        outputs[module] = (module.roi_align(leaf, *arguments), leaf)
    gradient = torch.randn(outputs[ops][0].shape, generator=workloads.generator())
    gradients = {module: torch.empty_like(output).copy_(gradient) for module, (output, _) in outputs.items()}

    def run(module: Any) -> Tensor:
        output, leaf = outputs[module]
        return torch.autograd.grad(output, leaf, gradients[module], retain_graph=True)[0]

    return name, lambda: run(torchvision.ops), lambda: run(ops), same_values


def nms_cases() -> Iterator[Case]:
    for kind, make in (("random", workloads.random_boxes), ("clustered", workloads.clustered_boxes)):
        for count in (1000, 4000, 12000):
            boxes, scores = make(count)
            yield (
                f"nms {count} {kind}",
                lambda b=boxes, s=scores: torchvision.ops.nms(b, s, 0.5),
                lambda b=boxes, s=scores: ops.nms(b, s, 0.5),
                identical,
            )
    boxes, scores = workloads.random_boxes(4000)
    classes = torch.randint(80, (4000,), generator=workloads.generator())
    yield (
        "batched_nms 4000 boxes 80 classes",
        lambda: torchvision.ops.batched_nms(boxes, scores, classes, 0.5),
        lambda: ops.batched_nms(boxes, scores, classes, 0.5),
        lambda ours, theirs: identical(ours.sort().values, theirs.sort().values),
    )


def paste_cases() -> Iterator[Case]:
    size = (800, 1333)
    masks = workloads.mask_probabilities(100)
    boxes = workloads.log_uniform_boxes(100)

    def peer() -> Tensor:
        return paste_masks_in_image(masks[:, None], boxes, size)[:, 0] > 0.5

    yield (
        "paste 100 masks to bool",
        peer,
        lambda: ops.paste_masks(masks, boxes, size, method="torchvision"),
        identical,
    )
    try:
        from pycocotools import mask as coco_mask
    except ImportError:
        return

    def encode() -> list[Any]:
        bitmaps = peer().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        return [entry["counts"].decode() for entry in coco_mask.encode(bitmaps.copy(order="F"))]

    def same_strings(ours: list[Any], theirs: list[Any]) -> None:
        assert [entry["counts"] for entry in ours] == theirs

    yield (
        "paste 100 masks to RLE",
        encode,
        lambda: ops.paste_masks_rle(masks, boxes, size, method="torchvision"),
        same_strings,
    )


def overhead_cases() -> Iterator[Case]:
    box, score = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0.5])
    yield (
        "call overhead: nms of one box",
        lambda: torchvision.ops.nms(box, score, 0.5),
        lambda: ops.nms(box, score, 0.5),
        identical,
    )
    feature, roi = torch.rand(1, 8, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]])
    yield (
        "call overhead: roi_align of one RoI",
        lambda: torchvision.ops.roi_align(feature, roi, 1, 1.0, 1),
        lambda: ops.roi_align(feature, roi, 1, 1.0, 1),
        same_values,
    )


def interleaved_times(functions: tuple[Callable[[], Any], Callable[[], Any]], seconds: float) -> list[list[float]]:
    """Times of each in milliseconds, over rounds that alternate between them."""
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + seconds
    while len(times[0]) < 3 or time.perf_counter() < end:
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append((time.perf_counter() - start) * 1e3)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on a case")
    parser.add_argument("--json", type=Path, help="write the rows and the versions here")
    options = parser.parse_args()

    cases = [*roi_align_cases(), *nms_cases(), *paste_cases(), *overhead_cases()]
    rows = []
    print("| op | threads | torchvision ms | fastmrcnn ms | ratio |\n|---|---:|---:|---:|---:|")
    for name, peer, ours, compare in cases:
        if options.only not in name:
            continue
        compare(ours(), peer())
        for threads in options.threads:
            torch.set_num_threads(threads)
            theirs, own = interleaved_times((peer, ours), options.seconds)
            peer_ms, ours_ms = min(theirs), min(own)
            row = Row(
                name,
                threads,
                round(peer_ms, 4),
                round(ours_ms, 4),
                round(peer_ms / ours_ms, 1),
                round(statistics.median(theirs), 4),
                round(statistics.median(own), 4),
                len(own),
            )
            rows.append(row)
            print(f"| {name} | {threads} | {peer_ms:.3f} | {ours_ms:.3f} | x{row.ratio} |", flush=True)
    if options.json:
        versions = {**environment(), "torchvision": torchvision.__version__, "machine": platform.machine()}
        options.json.write_text(json.dumps({"versions": versions, "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
