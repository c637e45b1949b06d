"""The parts of `python -m benchmarks.training`: the crowded images, the photographs, the document."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("torchvision", reason="torchvision is the peer")

from benchmarks import memory as inference_memory
from benchmarks.training import loading, memory, report
from fastmrcnn.data import open_dataset
from fastmrcnn.ops import InstanceMasks


def test_both_sides_get_the_same_objects() -> None:
    drawn, polygons = (memory.make_targets((80, 133), 30, as_bitmaps=bitmaps) for bitmaps in (True, False))
    for theirs, ours in zip(drawn, polygons, strict=True):
        assert isinstance(ours["masks"], InstanceMasks)
        assert torch.equal(theirs["masks"], ours["masks"].to_bitmaps())
        assert theirs["masks"].flatten(1).any(dim=1).all()
        assert all(torch.equal(theirs[name], ours[name]) for name in ("boxes", "labels"))


def test_the_photographs_are_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PHOTOGRAPHS", 2)
    dataset = open_dataset(loading.write_photographs(tmp_path), tmp_path)
    assert [len(sample) for sample in dataset] == [loading.OBJECTS] * 2
    assert dataset[0].image.shape == (3, *loading.PHOTOGRAPH)


def test_tables_stand_between_their_markers(tmp_path: Path) -> None:
    document = tmp_path / "TRAINING.md"
    markers = [report.markers("training", name) for name in ("memory", "loading")]
    document.write_text("before\n" + "\nbetween\n".join(f"{begin}\nold\n{end}" for begin, end in markers) + "\nafter\n")
    report.rewrite(document, {"memory": "| 1 |", "loading": "| 2 |"})
    text = document.read_text()
    assert "old" not in text
    assert text.index("| 1 |") < text.index("between") < text.index("| 2 |") < text.index("after")
    with pytest.raises(SystemExit, match="expected a line '<!-- training: other"):
        report.rewrite(document, {"other": ""})


@pytest.mark.slow
def test_inference_is_measured_in_processes_of_their_own() -> None:
    for side in ("theirs", "optimised"):  # the latter goes the way of the plain one, and further
        found = inference_memory.measure(side, inference_memory.QUICK_CASES[1])
        assert 0 < found["before"] <= found["peak"]
