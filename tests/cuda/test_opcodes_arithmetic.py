"""Arithmetic and comparison, against numpy and Python's integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.cuda.evaluate import SIZE, evaluate, floats, integers, wrapped
from tests.cuda.interpreter import InterpreterError


def truncated_division(x: int, y: int) -> int:
    return (abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1)


INTEGER_TYPES = {
    "s16": np.int16,
    "u16": np.uint16,
    "s32": np.int32,
    "u32": np.uint32,
    "s64": np.int64,
    "u64": np.uint64,
}
BINARY = {
    "add": lambda x, y, bits: x + y,
    "sub": lambda x, y, bits: x - y,
    "mul.lo": lambda x, y, bits: x * y,
    "mul.hi": lambda x, y, bits: x * y >> bits,
    "div": lambda x, y, bits: truncated_division(x, y),
    "rem": lambda x, y, bits: x - y * truncated_division(x, y),
    "min": lambda x, y, bits: min(x, y),
    "max": lambda x, y, bits: max(x, y),
}


@pytest.mark.parametrize("type", ["s64", "u64"])
@pytest.mark.parametrize(("opcode", "sign"), [("add", 1), ("sub", -1)])
def test_integers_of_three_registers(opcode: str, sign: int, type: str) -> None:
    """The carry of the lower register goes into the next one, and that one's into the last."""
    parts = [integers(np.uint64, seed) for seed in range(4)]
    code = f"""
        .reg .b64 %low, %middle, %high;
        {opcode}.cc.{type} %low, %a, %b;
        {opcode}c.cc.{type} %middle, %c, %e;
        {opcode}c.{type} %high, 0, 0;
    """
    lanes = zip(*(part.astype(object) for part in parts), strict=True)
    results = [a + (c << 64) + sign * (b + (e << 64)) for a, b, c, e in lanes]
    for shift, register in ((0, "%low"), (64, "%middle"), (128, "%high")):
        found = evaluate(f"{code} mov.u64 %d, {register};", *parts, result=np.uint64)
        assert np.array_equal(found, wrapped([result >> shift for result in results], np.uint64)), register


@pytest.mark.parametrize("name", INTEGER_TYPES)
@pytest.mark.parametrize("opcode", BINARY)
def test_integer_arithmetic(opcode: str, name: str) -> None:
    dtype = INTEGER_TYPES[name]
    x, y = integers(dtype, 0), integers(dtype, 1)
    if opcode in ("div", "rem"):
        y[(y == 0) | (y == -1)] = 3
    expected = [BINARY[opcode](int(a), int(b), np.iinfo(dtype).bits) for a, b in zip(x, y, strict=True)]
    assert np.array_equal(evaluate(f"{opcode}.{name} %d, %a, %b;", x, y, result=dtype), wrapped(expected, dtype))


@pytest.mark.parametrize(("name", "dtype", "wide"), [("s32", np.int32, np.int64), ("u32", np.uint32, np.uint64)])
def test_wide_products_and_sums(name: str, dtype: type, wide: type) -> None:
    x, y, z = integers(dtype, 0), integers(dtype, 1), integers(wide, 2)
    products = x.astype(object) * y.astype(object)
    assert np.array_equal(evaluate(f"mul.wide.{name} %d, %a, %b;", x, y, result=wide), wrapped(products, wide))
    expected = wrapped(products + z.astype(object), wide)
    assert np.array_equal(evaluate(f"mad.wide.{name} %d, %a, %b, %c;", x, y, z, result=wide), expected)
    narrow = z.astype(dtype)
    expected = wrapped(products + narrow.astype(object), dtype)
    assert np.array_equal(evaluate(f"mad.lo.{name} %d, %a, %b, %c;", x, y, narrow, result=dtype), expected)


@pytest.mark.parametrize(("name", "dtype"), [("s32", np.int32), ("s64", np.int64)])
def test_signs_of_integers(name: str, dtype: type) -> None:
    x = integers(dtype, 0)
    assert np.array_equal(evaluate(f"neg.{name} %d, %a;", x, result=dtype), wrapped(-x.astype(object), dtype))
    assert np.array_equal(evaluate(f"abs.{name} %d, %a;", x, result=dtype), wrapped(abs(x.astype(object)), dtype))


@pytest.mark.parametrize(("name", "dtype"), [("f32", np.float32), ("f64", np.float64)])
@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("add.rn", np.add), ("sub.rn", np.subtract), ("mul.rn", np.multiply), ("div.rn", np.divide),
        ("min", np.fmin), ("max", np.fmax),
    ],
)  # fmt: skip
def test_floating_point_arithmetic(code: str, function: np.ufunc, name: str, dtype: type) -> None:
    x, y = floats(dtype, 0), floats(dtype, 1)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(evaluate(f"{code}.{name} %d, %a, %b;", x, y, result=dtype), function(x, y))


@pytest.mark.parametrize(("name", "dtype"), [("f32", np.float32), ("f64", np.float64)])
@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("sqrt.rn", np.sqrt), ("rcp.rn", np.reciprocal), ("neg", np.negative), ("abs", np.abs),
        ("rsqrt.approx", lambda x: 1 / np.sqrt(x)),
    ],
)  # fmt: skip
def test_functions(code: str, function: np.ufunc, name: str, dtype: type) -> None:
    x = floats(dtype, 0)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(evaluate(f"{code}.{name} %d, %a;", x, result=dtype), function(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("ex2.approx.ftz.f32", np.exp2),
        ("lg2.approx.f32", np.log2),
        ("sin.approx.f32", np.sin),
        ("tanh.approx.f32", np.tanh),
    ],
)
def test_approximate_functions(code: str, function: np.ufunc) -> None:
    x = np.linspace(0.1, 20, SIZE, dtype=np.float32)
    np.testing.assert_allclose(evaluate(f"{code} %d, %a;", x, result=np.float32), function(x), rtol=1e-5, atol=1e-6)


def test_min_that_keeps_nan() -> None:
    x, y = floats(np.float32, 0), floats(np.float32, 1)
    np.testing.assert_array_equal(evaluate("min.NaN.f32 %d, %a, %b;", x, y, result=np.float32), np.minimum(x, y))


def exact(x: float, y: float, z: float) -> Fraction:
    return Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))


def test_fma_rounds_once() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.uniform(1, 2, (2, SIZE)).astype(np.float32)
    z = -(x * y)  # leaves the error of the product alone, which two roundings would lose
    expected = [float(exact(a, b, c)) for a, b, c in zip(x, y, z, strict=True)]
    assert np.count_nonzero(expected) > SIZE // 2
    assert np.array_equal(evaluate("fma.rn.f32 %d, %a, %b, %c;", x, y, z, result=np.float32), np.float32(expected))


@pytest.mark.parametrize(("mode", "picks"), [("rz", "towards zero"), ("rm", "down"), ("rp", "up")])
def test_directed_rounding(mode: str, picks: str) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, SIZE)).astype(np.float32)
    results = evaluate(f"add.{mode}.f32 %d, %a, %b;", x, y, result=np.float32)
    for a, b, c in zip(x, y, results, strict=True):
        total, below, above = (
            Fraction(float(a)) + Fraction(float(b)),
            *(np.nextafter(c, np.float32(s)) for s in (-9, 9)),
        )
        down = picks == "down" or (picks == "towards zero" and total > 0)
        got = Fraction(float(c))
        assert got <= total < Fraction(float(above)) if down else Fraction(float(below)) < total <= got


def test_saturation_and_flushing() -> None:
    x, y = floats(np.float32, 0), np.zeros(SIZE, np.float32)
    saturated = np.where(np.isnan(x), 0, np.clip(x, 0, 1))
    np.testing.assert_array_equal(evaluate("add.sat.f32 %d, %a, %b;", x, y, result=np.float32), saturated)
    flushed = np.where(np.abs(x) < np.finfo(np.float32).tiny, 0, x)
    np.testing.assert_array_equal(evaluate("add.ftz.f32 %d, %a, %b;", x, y, result=np.float32), flushed)


UNORDERED = {"equ": "eq", "neu": "ne", "ltu": "lt", "leu": "le", "gtu": "gt", "geu": "ge"}
COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip


@pytest.mark.parametrize("name", [*COMPARE, *UNORDERED, "num", "nan"])
def test_floating_point_comparisons(name: str) -> None:
    x, y = floats(np.float32, 0), floats(np.float32, 1)
    y[::3] = x[::3]
    nan = np.isnan(x) | np.isnan(y)
    if name in ("num", "nan"):
        expected = nan == (name == "nan")
    else:
        expected = np.where(nan, name in UNORDERED, COMPARE[UNORDERED.get(name, name)](x, y))
    code = f"setp.{name}.f32 %pred0, %a, %b; selp.b32 %d, 1, 0, %pred0;"
    assert np.array_equal(evaluate(code, x, y, result=np.int32), expected)


@pytest.mark.parametrize("name", ["s32", "u32", "s64", "u64", "s16", "u16"])
@pytest.mark.parametrize("relation", COMPARE)
def test_integer_comparisons(relation: str, name: str) -> None:
    x, y = integers(INTEGER_TYPES[name], 0), integers(INTEGER_TYPES[name], 1)
    y[::3] = x[::3]
    code = f"setp.{relation}.{name} %pred0, %a, %b; selp.b32 %d, 1, 0, %pred0;"
    assert np.array_equal(evaluate(code, x, y, result=np.int32), COMPARE[relation](x, y))


@pytest.mark.parametrize(("relation", "same_as"), [("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")])
def test_unsigned_names(relation: str, same_as: str) -> None:
    x, y = integers(np.uint32, 0), integers(np.uint32, 1)
    code = f"setp.{relation}.u32 %pred0, %a, %b; selp.b32 %d, 1, 0, %pred0;"
    assert np.array_equal(evaluate(code, x, y, result=np.int32), COMPARE[same_as](x, y))


def test_comparison_with_a_second_predicate() -> None:
    x, y = integers(np.int32, 0), integers(np.int32, 1)
    code = """
        setp.gt.s32 %pred2, %a, 0;
        setp.lt.or.s32 %pred0|%pred1, %a, %b, %pred2;
        selp.b32 %d, 1, 0, %pred0;
        @!%pred1 bra $end;
        add.s32 %d, %d, 2;
        $end:
    """
    expected = ((x < y) | (x > 0)) + 2 * ((x >= y) | (x > 0))
    assert np.array_equal(evaluate(code, x, y, result=np.int32), expected)


@pytest.mark.parametrize("code", ["frobnicate.s32 %d, %a;", "mul.cc.s32 %d, %a, %a;", "cp.async.ca [%p0], [%p1], 4;"])
def test_what_is_unknown_raises(code: str) -> None:
    with pytest.raises(InterpreterError, match="the interpreter does not know"):
        evaluate(code, np.zeros(4, np.int32), result=np.int32)
