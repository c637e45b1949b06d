"""Every instruction set passes the operators' tests and gives the same bits: results may not depend on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from fastmrcnn import _C

LEVELS = ["baseline", "avx2", "avx512"]
BEST = LEVELS.index(_C.isa())
ROOT = Path(__file__).parents[2]
# In the names of tests, of what tracers and torch's dispatcher make of an operator, and of what becomes of memory.
SAME_AT_EVERY_LEVEL = (
    "opcheck",
    "compil",
    "traces",
    "fake_tensors",
    "keep_no_memory",
    "memory_is_that",
    "refus",
    "signature",
)
DIGEST = """
import hashlib
import torch
from fastmrcnn import _C
from fastmrcnn.ops import batched_nms, crop_masks, decode_boxes, match_boxes, paste_masks, paste_masks_rle, soft_nms
from fastmrcnn.ops.winograd import winograd_conv3x3, winograd_weights
from tests.ops.box_cases import clustered_boxes, random_boxes
from tests.ops.detection_cases import random_head
from tests.ops.proposal_cases import random_heads
from tests.ops.multiscale_cases import pool, pyramid, rois_of_all_levels
from tests.ops.roi_cases import pooled_everywhere

torch.manual_seed(0)
digest = hashlib.sha256()
for dtype in (torch.float32, torch.float64):
    boxes, deltas = random_boxes(300, dtype=dtype), 3 * torch.randn(300, 12, dtype=dtype)
    results = [decode_boxes(deltas, boxes), decode_boxes(deltas[:, :4], boxes, image_size=(50, 60))]
    proposals, scores, groups = clustered_boxes(900, 50, dtype=dtype), torch.rand(900), torch.randint(3, (900,))
    results.append(batched_nms(proposals, scores, groups, 0.5))
    objects = proposals[::60] + 1
    for rule in ({"every_object": True}, {"ignore_regions": boxes[:5]}):
        results.append(match_boxes(objects, proposals, foreground=0.5, background=0.3, **rule))
    results += soft_nms(proposals, scores, idxs=groups) + soft_nms(proposals, scores, method="linear")
    masks = torch.rand(30, 28, 28, dtype=dtype)
    for method in ("exact", "torchvision"):
        results.append(paste_masks(masks, 3 * boxes[:30], (250, 310), method=method))
        for rle in paste_masks_rle(masks, 3 * boxes[:30], (250, 310), method=method):
            digest.update(rle["counts"].encode())
    blobs = paste_masks(masks, 3 * boxes[:30], (250, 310))
    results.append(crop_masks(blobs, 3 * boxes[5:35], torch.arange(30), 28, aligned=True))
    for result in results:
        digest.update(result.contiguous().numpy().tobytes())
for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
    heads = random_heads(2, ((70, 90), (12, 17)), dtype=dtype)
    for memory in (torch.contiguous_format, torch.channels_last):
        for result in heads.to(memory_format=memory).propose(pre_nms=700):
            digest.update(result.numpy().tobytes())
    for classes in (4, 90):
        for result in random_head(2, 300, classes, dtype=dtype).select(score_threshold=0.01):
            digest.update(result.numpy().tobytes())
results = list(pooled_everywhere())
maps, tiles = torch.randn(2, 32, 9, 14).to(memory_format=torch.channels_last), torch.randn(36, 24, 32)
_C.winograd_output((2, 0), tiles, torch.randn(32), 0, maps)
results.append(maps.clone())
for transform in (_C.winograd_input, _C.winograd_gradient):
    transform((2, 0), maps, 0, tiles)
    results.append(tiles.clone())
weight, bias = torch.randn(80, 32, 3, 3), torch.randn(80)  # rounds where there is no fused multiply-add
filtered = winograd_conv3x3(maps, winograd_weights(weight), bias, 80)
expected = torch.nn.functional.conv2d(maps.double(), weight.double(), bias.double(), padding=1)
assert (filtered - expected).norm() <= 1e-5 * expected.norm()
for dtype in (torch.float32, torch.float64, torch.bfloat16):
    for layout in ("contiguous", "channels_last"):
        features = [feature.requires_grad_() for feature in pyramid(2, 35, dtype, layout)]
        pooled = pool(features, rois_of_all_levels(60))
        results += [pooled.detach(), *torch.autograd.grad(pooled.square().sum(), features)]
for pooled in results:
    digest.update(pooled.contiguous().view(torch.uint8).numpy().tobytes())
print(_C.isa(), digest.hexdigest())
"""


def digest_at(level: str) -> str:
    environment = {**os.environ, "FASTMRCNN_ISA": level}
    command = [sys.executable, "-c", DIGEST]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT, timeout=300)
    isa, digest = run.stdout.split()
    assert isa == level
    return digest


@pytest.mark.skipif(_C.isa() == "baseline", reason="this machine has one instruction set only")
def test_all_levels_agree() -> None:
    assert len({digest_at(level) for level in LEVELS[: BEST + 1]}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS[1:BEST])  # at the baseline .ci/run has the tests of its second environment
def test_the_operators_tests_pass_at_every_level(level: str, tmp_path: Path) -> None:
    """All that computes, in a process of its own for each level below that of the run at hand: a minute each."""
    files = sorted(set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)})
    report = tmp_path / "report.xml"
    computing = f"not ({' or '.join(SAME_AT_EVERY_LEVEL)})"
    options = ["-m", "not slow", "-k", computing, "-p", "no:cacheprovider", f"--junit-xml={report}"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, files)]
    environment = {**os.environ, "FASTMRCNN_ISA": level}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=1200)
    assert run.returncode == 0, run.stdout[-5000:]
    assert f"instruction set: {level}" in run.stdout  # the report's header
    passed = [case.get("classname", "") for case in ElementTree.parse(report).iter("testcase") if not len(case)]
    without_a_pass = {file.stem for file in files} - {name.rpartition(".")[2] for name in passed}
    assert without_a_pass <= {"test_call_overhead", "test_torchvision_signatures"}  # slow; needs torchvision


@pytest.mark.skipif("FASTMRCNN_ISA" in os.environ, reason="the level is not the machine's best one")
@pytest.mark.skipif(_C.isa() == LEVELS[-1], reason="this machine has every level")
@pytest.mark.parametrize("level", LEVELS[BEST + 1 :] or LEVELS[-1:])
def test_a_level_above_the_machine_is_refused(level: str) -> None:
    command = [sys.executable, "-c", "from fastmrcnn import _C; _C.isa()"]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "FASTMRCNN_ISA": level})
    assert f"FASTMRCNN_ISA={level} is not available; this build and machine have {_C.isa()} at most" in run.stderr
