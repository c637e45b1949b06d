"""Executes single PTX instructions, one lane for each element of some arrays, and makes numbers for them."""

from __future__ import annotations

import math

import numpy as np

from tests.cuda.interpreter.checks import RaceCheck
from tests.cuda.interpreter.executor import execute
from tests.cuda.interpreter.lanes import Launch
from tests.cuda.interpreter.memory import DeviceMemory
from tests.cuda.interpreter.program import Program
from tests.cuda.interpreter.ptx import Module

SIZE = 256
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    1e-40,
    -1e-40,
    3.4e38,
    math.inf,
    -math.inf,
    math.nan,
    65504.0,
    65520.0,
    0.1,
    1e10,
    -7.0,
]


def run_ptx(body: str, arrays: list[np.ndarray], *, grid: int = 1, block: int = 32, outside: str = "") -> None:
    """Executes a kernel whose parameters p0, p1, ... are the addresses of `arrays`, which are changed in place."""
    parameters = ", ".join(f".param .u64 p{i}" for i in range(len(arrays)))
    module = Module(f".version 8.0\n{outside}\n.visible .entry kernel({parameters})\n{{\n{body}\n}}\n")
    memory = DeviceMemory()
    regions = [memory.allocate(array.nbytes, f"p{i}") for i, array in enumerate(arrays)]
    for region, array in zip(regions, arrays, strict=True):
        region.data[:] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        region.is_initialised = True
    addresses = np.array([region.base for region in regions], np.uint64).view(np.uint8)
    program = Program(module, "kernel", {})
    execute(program, Launch((grid, 1, 1), (block, 1, 1), 0, addresses), memory, RaceCheck(0))
    for region, array in zip(regions, arrays, strict=True):
        array[...] = region.data.view(array.dtype).reshape(array.shape)


def evaluate(code: str, *inputs: np.ndarray, result: type | np.dtype, outside: str = "") -> np.ndarray:
    """The value of register %d after `code`, whose inputs are in registers %a, %b, ...; %t is the lane's number."""
    size = len(inputs[0])
    results = np.zeros(size, result)
    arrays = [results, *(np.asarray(values) for values in inputs)]
    names = ["d", *"abcefg"[: len(inputs)]]
    lines = [".reg .b32 %t; .reg .b64 %offset, %p<16>; .reg .pred %pred<4>;", "mov.u32 %t, %tid.x;"]
    for i, (name, array) in enumerate(zip(names, arrays, strict=True)):
        bits = 8 * array.itemsize
        lines += [
            f".reg .b{max(bits, 16)} %{name};",
            f"ld.param.u64 %p{i}, [p{i}];",
            f"mul.wide.u32 %offset, %t, {array.itemsize};",
            f"add.s64 %p{i}, %p{i}, %offset;",
        ]
        if i > 0:
            kind = "s" if array.dtype.kind == "i" else "u"
            lines.append(f"ld.global.{kind}{bits} %{name}, [%p{i}];")
    lines += [code, f"st.global.u{8 * results.itemsize} [%p0], %d;", "ret;"]
    run_ptx("\n".join(lines), arrays, block=size, outside=outside)
    return results


def integers(dtype: type, seed: int) -> np.ndarray:
    """Random numbers of all magnitudes, and the extremes."""
    generator, limits = np.random.default_rng(seed), np.iinfo(dtype)
    values = generator.integers(limits.min, limits.max, SIZE, dtype, endpoint=True)
    values >>= generator.integers(0, limits.bits - 1, SIZE).astype(dtype)
    values[:6] = [0, 1, limits.max, limits.min, limits.max // 2 + 1, 7]
    return generator.permutation(values)


def floats(dtype: type, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        values = (generator.standard_normal(SIZE) * 10.0 ** generator.integers(-6, 6, SIZE)).astype(dtype)
        values[: len(SPECIAL)] = np.array(SPECIAL).astype(dtype)
    return generator.permutation(values)


def wrapped(values: list[int], dtype: type) -> np.ndarray:
    bits = np.iinfo(dtype).bits
    return np.array([value % (1 << bits) for value in values], f"u{bits // 8}").view(dtype)
