"""The benchmark program on tiny sizes: every case agrees with its peer, and the files are what they should be."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("torchvision", reason="torchvision is the peer")
pytest.importorskip("pycocotools", reason="pycocotools is the peer of the run-length encodings")

from benchmarks import cases, peers, program, results, start_up, table
from benchmarks.case import Case, Contest, Goal, Work
from benchmarks.cases import training
from benchmarks.limits import MIB, WORKING_SETS, Limits, measure_limits
from benchmarks.pixels import quantised_pixels, sampled_pixels
from benchmarks.results import Row, read_results
from benchmarks.stages import WithShare
from benchmarks.timing import interleave
from fastmrcnn import ops
from fastmrcnn.deployment.precision import cpu_bfloat16

# pycocotools' decoder on numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

DOCUMENT = """# Title

{begin}
what stood here before
{end}

after
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results file of a quick run over all operators, the table of which is in README.md beside it."""
    folder = tmp_path_factory.mktemp("benchmarks")
    for name in table.TABLES:
        begin = table.BEGIN.replace("NAME", name)
        (folder / f"{name}.md").write_text(DOCUMENT.format(begin=begin, end=table.END))
    path = folder / "results" / "quick.json"
    documents = [str(folder / f"{name}.md") for name in table.TABLES]
    assert program.main(["--quick", "--threads", "1", "2", "--json", str(path), "--readme", *documents]) == 0
    return path


def test_every_operator_runs_and_agrees(quick: Path) -> None:
    results = json.loads(quick.read_text())
    assert results["schema"] == 1
    assert results["command"] == "python -m benchmarks --quick"
    assert {"torch", "torchvision", "fastmrcnn", "instruction set"} <= set(results["versions"])
    assert {"cpu", "cores", "flags", "OMP_WAIT_POLICY"} <= set(results["machine"])
    assert [limits["threads"] for limits in results["limits"]] == [1, 2]
    assert {row["family"] for row in results["rows"]} == set(cases.OPERATORS) | set(cases.DATA)
    fields = {field.name for field in dataclasses.fields(Row)}
    for row in results["rows"]:
        assert set(row) == fields
        assert row["agreement"]
        assert row["rounds"] >= 3
        assert row["ours_operators_share"] is None
        assert 0 < row["ours_ms"] <= row["ours_median_ms"]
        assert 0 < row["peer_ms"] <= row["peer_median_ms"]
        assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ours_ms"], rel=2e-3)
        if row["bound"]:
            assert row["bound"] in ("memory", "cache", "compute")
            assert row["limit_fraction"] == pytest.approx(row["limit_ms"] / row["ours_ms"], rel=2e-3)
        assert row["goal_met"] is None, "the goals are set for the standard sizes"


def test_each_case_has_one_row_for_each_number_of_threads(quick: Path) -> None:
    rows = read_results([quick]).rows
    keys = [(row.op, row.dtype, row.layout, row.threads) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {key[:3] for key in keys if key[3] == 1} == {key[:3] for key in keys if key[3] == 2}


def test_documents_show_the_rows_between_their_markers(quick: Path) -> None:
    rows = read_results([quick]).rows
    for name in table.TABLES:
        shown = [row for row in rows if row.in_readme or name != "main rows"]
        text = (quick.parent.parent / f"{name}.md").read_text()
        assert "what stood here before" not in text
        assert text.startswith("# Title")
        assert text.endswith("after\n")
        assert all(f"| {row.op}" in text for row in shown)
        assert "--quick" in text  # the command that made it
        assert ("GFLOP/s" in text) == (name == "all rows")  # what the machine can do at best


def test_results_are_rendered_again_and_merged(quick: Path, tmp_path: Path) -> None:
    results = json.loads(quick.read_text())
    half = len(results["rows"]) // 2
    parts = [results["rows"][:half], results["rows"][half:]]
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    for path, rows in zip(paths, parts, strict=True):
        path.write_text(json.dumps({**results, "rows": rows}))
    document = tmp_path / "README.md"
    document.write_text((quick.parent.parent / "all rows.md").read_text())
    expected = document.read_text()
    assert program.main(["--from-json", *map(str, paths), "--readme", str(document)]) == 0
    assert document.read_text() == expected
    paths[1].write_text(json.dumps({**results, "commit": "another"}))
    with pytest.raises(SystemExit, match="expected the commit of"):
        read_results(paths)


def test_a_document_without_markers_is_refused(quick: Path, tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("# Title\n")
    with pytest.raises(SystemExit, match="expected a line"):
        table.rewrite(document, read_results([quick]))
    assert document.read_text() == "# Title\n"


def test_without_pycocotools_the_peer_encodes_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    bitmaps, polygons = (
        torch.rand(6, 7, 9) > 0.5,
        [[[1.0, 1, 6, 2, 4, 6]], [[0.0, 0, 3, 0, 3, 3], [5.0, 2, 8, 2, 8, 6]]],
    )
    bitmaps[4], bitmaps[5] = False, True
    expected = peers.encode_bitmaps(bitmaps), peers.draw(polygons, (7, 9))
    monkeypatch.setattr(peers, "coco_mask", None)
    encoded = peers.encode_bitmaps(bitmaps)
    assert encoded == expected[0]
    assert torch.equal(peers.draw(polygons, (7, 9)), expected[1])
    runs: list[ops.RLE] = [{"size": [7, 9], "counts": counts} for counts in encoded]
    assert torch.equal(peers.decode_rle(runs, (7, 9)).bool(), bitmaps)


def test_outside_a_checkout_the_commit_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.delenv("COMMIT", raising=False)
    assert results.commit() == "unknown"
    monkeypatch.setenv("COMMIT", "abc1234")
    assert results.commit() == "abc1234"


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(SystemExit, match="expected part of a family"):
        program.main(["--quick", "--only", "no such operator"])


@pytest.mark.slow
def test_whole_models_run_and_agree(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    assert program.main(["--quick", "--models", "--only", "R50", "--threads", "2", "--json", str(path)]) == 0
    rows = read_results([path]).rows
    steps = ["float32", "bfloat16"] if training.has_bfloat16() else ["float32"]
    optimised = ["float32", "bfloat16"] if cpu_bfloat16() else ["float32"]
    assert [row.dtype for row in rows if "optimised" in row.op] == optimised
    assert [row.layout for row in rows] == ["NCHW", "NHWC", *["NHWC"] * len(optimised + steps)]
    assert [row.dtype for row in rows if "training" in row.op] == steps
    for row in rows:
        if "inference" in row.op:
            assert 0 < row.ours_operators_share < 1
            assert 0 < row.peer_operators_share < 1


def contest_of(ours: Any, peer: Any) -> Contest:
    def check(own: Any, theirs: Any) -> str:
        assert own == theirs, "results differ"
        return "identical"

    return Contest("peer", peer, ours, check)


def test_a_case_whose_results_differ_is_not_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls = []
    wrong = Case("wrong", lambda: contest_of(lambda: calls.append(1) or 1, lambda: 2))
    right = Case("right", lambda: contest_of(lambda: 1, lambda: 1))
    monkeypatch.setattr(program, "OPERATORS", {"family": lambda workload: iter([wrong, right])})
    monkeypatch.setattr(program, "DATA", {})
    path = tmp_path / "results.json"
    assert program.main(["--quick", "--threads", "1", "--json", str(path)]) == 1
    assert [row.op for row in read_results([path]).rows] == ["right"]
    assert len(calls) == 1
    assert "wrong float32: not timed, results differ" in capsys.readouterr().err


def test_rounds_alternate() -> None:
    order: list[str] = []
    functions = [lambda: order.append("peer"), lambda: order.append("ours")]
    # A stopwatch under which every call takes a millisecond, so that none is repeated.
    timings = interleave(functions, 0.0, stopwatch=lambda function, calls: (function(), 1e-3 * calls)[1])
    assert order == ["peer", "ours"] * 4  # one of them the warm-up
    assert [timing.rounds for timing in timings] == [3, 3]
    assert all(timing.min_ms == timing.median_ms == 1 and timing.spread == 0 for timing in timings)


def test_short_calls_are_repeated() -> None:
    counts: list[int] = []

    def stopwatch(function: Any, calls: int) -> float:
        counts.append(calls)
        return calls * 1e-5

    [timing] = interleave([lambda: None], 0.0, stopwatch=stopwatch)
    assert counts == [1, 100, 100, 100]
    assert timing.min_ms == pytest.approx(0.01)


def test_the_first_of_long_calls_is_a_round() -> None:
    [timing] = interleave([lambda: None], 0.0, stopwatch=lambda function, calls: 2.0, least_rounds=2)
    assert timing.rounds == 2
    assert timing.min_ms == 2000


def limits_of(**changes: Any) -> Limits:
    rates = {MIB: 40.0, 16 * MIB: 10.0}
    return dataclasses.replace(Limits(1, rates, {MIB: 20.0, 16 * MIB: 5.0}, rates, 50.0, 100.0), **changes)


@pytest.mark.parametrize(
    ("work", "milliseconds", "bound"),
    [
        (Work(reads=4e5, writes=2e5), 0.01 + 0.01, "memory"),  # together below 1 MiB
        (Work(reads=1e6, writes=1e6), 0.1 + 0.2, "memory"),  # together beyond it
        (Work(reads=1e9), 100.0, "memory"),  # beyond the largest probe: its rate
        (Work(reads=4e5, gathers=1e7), 0.2, "cache"),
        (Work(gathers=1e7, flops=1e9), 10.0, "compute"),
    ],
)
def test_limits(work: Work, milliseconds: float, bound: str) -> None:
    assert limits_of().milliseconds(work) == (pytest.approx(milliseconds), bound)


def test_the_best_of_two_probes_counts() -> None:
    first, second = limits_of(own_cache=60.0), limits_of(gflops=200.0, read={MIB: 50.0, 16 * MIB: 9.0})
    best = first.best_of(second)
    assert best == second.best_of(first)
    assert (best.own_cache, best.gflops, best.read) == (60.0, 200.0, {MIB: 50.0, 16 * MIB: 10.0})


def test_the_probes_measure_every_working_set() -> None:
    before = torch.get_num_threads()
    limits = measure_limits(1, seconds=0.0)
    assert torch.get_num_threads() == before
    for rates in (limits.read, limits.write, limits.copy):
        assert set(rates) == set(WORKING_SETS)
        assert all(0 < rate < math.inf for rate in rates.values())
    assert limits.own_cache > 0
    assert limits.gflops > 0


def test_goals() -> None:
    figures = {"ratio": 20.0, "milliseconds": 0.002, "fraction": 0.9, "share": None}
    assert Goal().is_met(**figures) is None
    assert Goal(ratio=20).is_met(**figures)
    assert not Goal(ratio=20.1).is_met(**figures)
    assert Goal(ratio=1, milliseconds=0.003).is_met(**figures)
    assert not Goal(ratio=1, milliseconds=0.001).is_met(**figures)
    assert not Goal(ratio=1, fraction=0.95).is_met(**figures)
    assert Goal(fraction=0.95).is_met(**{**figures, "fraction": None}) is False
    assert not Goal(operators_share=0.05).is_met(**figures)
    assert Goal(operators_share=0.05).is_met(**{**figures, "share": 0.05})
    assert str(Goal(ratio=1, milliseconds=0.003, fraction=0.95)) == ">= x1, <= 3 us, >= 95% of the limit"


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [0, 2])
def test_touched_pixels_are_those_that_get_a_gradient(sampling: int, aligned: bool) -> None:
    size = (13, 17)
    boxes = torch.tensor([[3.3, 4.1, 60.2, 30.7], [-20.0, 50, 30, 70], [40.1, 20.3, 41.2, 20.9], [500, 500, 600, 600]])
    touched = sampled_pixels(boxes, 0.25, 7, sampling, aligned, size)
    counts = []
    for chosen in [*boxes.split(1), boxes]:
        feature = torch.zeros(1, 1, *size, dtype=torch.float64, requires_grad=True)
        ops.roi_align(feature, [chosen.double()], 7, 0.25, sampling, aligned).sum().backward()
        counts.append(int((feature.grad != 0).sum()))
    assert touched.distinct == sum(counts[:-1])
    assert touched.union == counts[-1]


def test_quantised_pixels() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 4], [4, 4, 8, 8], [-100, -100, -50, -50]])
    touched = quantised_pixels(boxes, 0.25, (5, 5))
    assert touched.distinct == 3 * 2 + 2 * 2
    assert touched.union == 3 * 2 + 2 * 2 - 2


def test_the_share_of_stages_inside_stages() -> None:
    class Stages:
        def outer(self) -> None:
            time.sleep(0.02)
            self.inner()

        def inner(self) -> None:
            time.sleep(0.02)

    def function() -> None:
        Stages().outer()
        time.sleep(0.04)

    timed = WithShare([(Stages, "outer"), (Stages, "inner")], function)
    timed()
    assert 0.3 < timed.share < 0.7


def test_the_start_of_a_process_is_timed() -> None:
    took = start_up.run("import time; time.sleep(0.5)")
    assert took.wall > 0.5
    assert 0 < took.processor < took.wall  # it sleeps
    assert list(start_up.programs_of(["tiny"]))[-1] == "load tiny, predict"
