"""Every instruction set gives the same bits: pixels and kept boxes may not depend on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastmrcnn import _C

LEVELS = ["baseline", "avx2", "avx512"]
DIGEST = """
import hashlib
import torch
from fastmrcnn import _C
from fastmrcnn.ops import batched_nms, crop_masks, decode_boxes, match_boxes, paste_masks, paste_masks_rle, soft_nms
from tests.ops.box_cases import clustered_boxes, random_boxes
from tests.ops.proposal_cases import random_heads
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
for pooled in pooled_everywhere():
    digest.update(pooled.contiguous().view(torch.uint8).numpy().tobytes())
print(_C.isa(), digest.hexdigest())
"""


def digest_at(level: str) -> str:
    environment = {**os.environ, "FASTMRCNN_ISA": level}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", DIGEST]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=root, timeout=300)
    isa, digest = run.stdout.split()
    assert isa == level
    return digest


@pytest.mark.skipif(_C.isa() == "baseline", reason="this machine has one instruction set only")
def test_all_levels_agree() -> None:
    available = LEVELS[: LEVELS.index(_C.isa()) + 1]
    assert len({digest_at(level) for level in available}) == 1
