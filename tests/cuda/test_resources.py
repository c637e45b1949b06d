"""The report on registers and spills, on the words of ptxas."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda import resources
from tests.cuda.resources import Usage

LOG = """
ptxas info    : Compiling entry function '_ZN9fastmrcnn4cuda56_GLOBAL__N__a2_15_decode_boxes_cu_b46decodeIfEEvPKT_l' for 'sm_90'
ptxas info    : Function properties for _ZN9fastmrcnn4cuda56_GLOBAL__N__a2_15_decode_boxes_cu_b46decodeIfEEvPKT_l
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, used 0 barriers
ptxas info    : Compile time = 12.345 ms
ptxas info    : Compiling entry function '_ZN3cub4sortIfEEvPKf' for 'sm_75'
ptxas info    : Function properties for _ZN3cub4sortIfEEvPKf
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 400 bytes cmem[0]
"""  # noqa: E501


def test_reads_what_ptxas_says() -> None:
    log = LOG.replace("56_GLOBAL__N__a2_15_decode_boxes_cu_b46decode", "6decode")
    first, second = resources.read(log)
    assert first == Usage("fastmrcnn::cuda::decode", "sm_90", 28, 0)
    assert second == Usage("cub::sort", "sm_75", 255, 12)


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("void cuda::(anonymous namespace)::decode<float>(a::B<float> const*, long)", "cuda::decode"),
        ("fastmrcnn::cuda::f(int)", "fastmrcnn::cuda::f"),
        ("void cub::detail::g<cub::Policy<a, b>::Max, int (*)(int)>(x)", "cub::detail::g"),
    ],
)  # fmt: skip
def test_names_leave_out_arguments(signature: str, name: str) -> None:
    assert resources._qualified(signature) == name


def test_what_is_a_problem() -> None:
    kernel = Usage("f", "sm_90", 40, 0)
    assert resources.problems([kernel], {"f": 40}) == []
    assert resources.problems([kernel], {"f": 39}) == ["f on sm_90 takes 40 registers; its bound is 39"]
    assert resources.problems([kernel], {}) == ["f on sm_90 takes 40 registers; registers.json has no bound for it"]
    assert resources.problems([kernel], {"f": 40, "g": 1}) == ["g has a bound, but the log does not tell of it"]
    assert resources.problems([Usage("cub::sort", "sm_75", 255, 12)], {}) == ["cub::sort on sm_75 spills 12 bytes"]


def test_an_empty_log_fails(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("nothing")
    assert resources.main([str(log)]) == 1
