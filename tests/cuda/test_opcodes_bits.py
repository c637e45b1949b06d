"""Moves, logic, shifts, bit fields and conversions, against Python's integers and numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.cuda.evaluate import SIZE, evaluate, floats, integers, wrapped

UNSIGNED = {32: np.uint32, 64: np.uint64}


def counts(seed: int, limit: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, limit, SIZE, np.uint32)


@pytest.mark.parametrize(
    ("opcode", "function"),
    [("and", lambda x, y: x & y), ("or", lambda x, y: x | y), ("xor", lambda x, y: x ^ y), ("not", lambda x, y: ~x)],
)
@pytest.mark.parametrize("bits", UNSIGNED)
def test_logic(opcode: str, function: Callable, bits: int) -> None:
    x, y = integers(UNSIGNED[bits], 0), integers(UNSIGNED[bits], 1)
    code = f"{opcode}.b{bits} %d, %a{'' if opcode == 'not' else ', %b'};"
    assert np.array_equal(evaluate(code, x, y, result=UNSIGNED[bits]), function(x, y))


@pytest.mark.parametrize("table", [0x96, 0xE8, 0xCA, 0x1B])
def test_logic_of_three(table: int) -> None:
    a, b, c = (integers(np.uint32, seed) for seed in range(3))
    picks = [a, b, c]
    bits = [[(p[:, None] >> np.arange(32, dtype=np.uint32)) & 1 for p in picks]]
    row = bits[0][0] * 4 + bits[0][1] * 2 + bits[0][2]
    expected = (((table >> row) & 1).astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(axis=1).astype(np.uint32)
    assert np.array_equal(evaluate(f"lop3.b32 %d, %a, %b, %c, {table};", a, b, c, result=np.uint32), expected)


@pytest.mark.parametrize(("opcode", "kind"), [("shl", "b"), ("shr", "u"), ("shr", "s")])
@pytest.mark.parametrize("bits", UNSIGNED)
def test_shifts(opcode: str, kind: str, bits: int) -> None:
    dtype = np.dtype(f"{'i' if kind == 's' else 'u'}{bits // 8}")
    x, by = integers(dtype.type, 0), counts(1, bits + 8)
    shifted = [int(a) << int(n) if opcode == "shl" else int(a) >> int(n) for a, n in zip(x, by, strict=True)]
    result = evaluate(f"{opcode}.{kind}{bits} %d, %a, %b;", x, by, result=dtype)
    assert np.array_equal(result, wrapped(shifted, dtype.type))


@pytest.mark.parametrize("mode", ["wrap", "clamp"])
@pytest.mark.parametrize("direction", ["l", "r"])
def test_funnel_shift(direction: str, mode: str) -> None:
    low, high, by = integers(np.uint32, 0), integers(np.uint32, 1), counts(2, 40)
    expected = []
    for a, b, n in zip(low.tolist(), high.tolist(), by.tolist(), strict=True):
        n = n % 32 if mode == "wrap" else min(n, 32)
        both = b << 32 | a
        expected.append((both << n) >> 32 if direction == "l" else both >> n)
    result = evaluate(f"shf.{direction}.{mode}.b32 %d, %a, %b, %c;", low, high, by, result=np.uint32)
    assert np.array_equal(result, wrapped(expected, np.uint32))


@pytest.mark.parametrize("name", ["u32", "s32", "u64", "s64"])
def test_extracted_fields(name: str) -> None:
    bits, dtype = int(name[1:]), np.dtype(f"{'i' if name[0] == 's' else 'u'}{int(name[1:]) // 8}")
    x, position, length = integers(dtype.type, 0), counts(1, bits), counts(2, bits + 1)
    expected = []
    for value, p, n in zip(x.tolist(), position.tolist(), length.tolist(), strict=True):
        field = (value % (1 << bits)) >> p & ((1 << n) - 1)
        sign = (value % (1 << bits)) >> min(p + n - 1, bits - 1) & 1 if name[0] == "s" and n else 0
        expected.append(field - (1 << min(n, bits - p)) if sign else field)
    result = evaluate(f"bfe.{name} %d, %a, %b, %c;", x, position, length, result=dtype)
    assert np.array_equal(result, wrapped(expected, dtype.type))


@pytest.mark.parametrize("bits", UNSIGNED)
def test_inserted_fields(bits: int) -> None:
    dtype = UNSIGNED[bits]
    field, base, position, length = integers(dtype, 0), integers(dtype, 1), counts(2, bits), counts(3, bits)
    expected = []
    for a, b, p, n in zip(*(values.tolist() for values in (field, base, position, length)), strict=True):
        mask = (1 << n) - 1 << p
        expected.append(b & ~mask | (a << p & mask))
    result = evaluate(f"bfi.b{bits} %d, %a, %b, %c, %e;", field, base, position, length, result=dtype)
    assert np.array_equal(result, wrapped(expected, dtype))


def test_bit_masks() -> None:
    position, length = counts(0, 33), counts(1, 33)
    expected = [((1 << n) - 1) << p for p, n in zip(position.tolist(), length.tolist(), strict=True)]
    result = evaluate("bmsk.clamp.b32 %d, %a, %b;", position, length, result=np.uint32)
    assert np.array_equal(result, wrapped(expected, np.uint32))


@pytest.mark.parametrize("bits", UNSIGNED)
@pytest.mark.parametrize(
    ("opcode", "function"),
    [
        ("popc", lambda value, bits: bin(value).count("1")),
        ("clz", lambda value, bits: bits - value.bit_length()),
        ("brev", lambda value, bits: int(f"{value:0{bits}b}"[::-1], 2)),
    ],
)
def test_bit_counts(opcode: str, function: Callable, bits: int) -> None:
    x = integers(UNSIGNED[bits], 0)
    result = evaluate(f"{opcode}.b{bits} %d, %a;", x, result=UNSIGNED[bits] if opcode == "brev" else np.uint32)
    assert result.tolist() == [function(value, bits) for value in x.tolist()]


def test_highest_bit() -> None:
    x = integers(np.uint32, 0)
    assert np.array_equal(
        evaluate("bfind.u32 %d, %a;", x, result=np.int32), [value.bit_length() - 1 for value in x.tolist()]
    )
    y = x.view(np.int32)
    expected = [(value if value >= 0 else ~value).bit_length() - 1 for value in y.tolist()]
    assert np.array_equal(evaluate("bfind.s32 %d, %a;", y, result=np.int32), expected)


@pytest.mark.parametrize("selector", [0x3210, 0x0123, 0x7654, 0x1032, 0x5410, 0xBA98, 0x44F0])
def test_permuted_bytes(selector: int) -> None:
    low, high = integers(np.uint32, 0), integers(np.uint32, 1)
    octets = np.stack([low, high], axis=1).view(np.uint8)  # [n, 8]
    picks = [selector >> 4 * i & 15 for i in range(4)]
    signs = np.where(octets & 0x80, 0xFF, 0).astype(np.uint8)
    expected = np.stack([(signs if pick & 8 else octets)[:, pick & 7] for pick in picks], axis=1)
    result = evaluate(f"prmt.b32 %d, %a, %b, {selector};", low, high, result=np.uint32)
    assert np.array_equal(result, np.ascontiguousarray(expected).view(np.uint32).reshape(-1))


def test_dot_product_of_bytes() -> None:
    a, b, c = (integers(np.int32, seed) for seed in range(3))
    products = a.view(np.int8).reshape(-1, 4).astype(int) * b.view(np.int8).reshape(-1, 4).astype(int)
    expected = products.sum(axis=1) + c.astype(int)
    assert np.array_equal(
        evaluate("dp4a.s32.s32 %d, %a, %b, %c;", a, b, c, result=np.int32), wrapped(expected, np.int32)
    )


def test_joined_and_split_registers() -> None:
    low, high = integers(np.uint32, 0), integers(np.uint32, 1)
    joined = evaluate("mov.b64 %d, {%a, %b};", low, high, result=np.uint64)
    assert np.array_equal(joined, low.astype(np.uint64) | high.astype(np.uint64) << np.uint64(32))
    swap = ".reg .b32 %x; .reg .b32 %y; mov.b64 {%x, %y}, %a; mov.b64 %d, {%y, %x};"
    assert np.array_equal(evaluate(swap, joined, result=np.uint64), joined << np.uint64(32) | joined >> np.uint64(32))


def test_a_move_does_not_tie_registers() -> None:
    x = np.arange(SIZE, dtype=np.int32)
    code = ".reg .b32 %x; mov.b32 %x, %a; setp.gt.s32 %pred0, %a, 9; @%pred0 add.s32 %a, %a, 100; sub.s32 %d, %a, %x;"
    assert np.array_equal(evaluate(code, x, result=np.int32), np.where(x > 9, 100, 0))


@pytest.mark.parametrize("source", ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"])
@pytest.mark.parametrize("to", ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"])
@pytest.mark.parametrize("saturate", [False, True])
def test_between_integers(to: str, source: str, saturate: bool) -> None:
    dtypes = {name: np.dtype(f"{'i' if name[0] == 's' else 'u'}{int(name[1:]) // 8}").type for name in (to, source)}
    x = integers(dtypes[source], 0)
    limits = np.iinfo(dtypes[to])
    expected = np.clip(x.astype(object), limits.min, limits.max) if saturate else x.astype(object)
    result = evaluate(f"cvt{'.sat' if saturate else ''}.{to}.{source} %d, %a;", x, result=dtypes[to])
    assert np.array_equal(result, wrapped(expected.tolist(), dtypes[to]))


@pytest.mark.parametrize("to", ["s32", "u32", "s64", "u64"])
@pytest.mark.parametrize(("source", "dtype"), [("f32", np.float32), ("f64", np.float64)])
@pytest.mark.parametrize(
    ("mode", "rounded"), [("rzi", np.trunc), ("rni", np.rint), ("rmi", np.floor), ("rpi", np.ceil)]
)
def test_to_integers(mode: str, rounded: np.ufunc, source: str, dtype: type, to: str) -> None:
    x = floats(dtype, 0)
    integer = np.dtype(f"{'i' if to[0] == 's' else 'u'}{int(to[1:]) // 8}").type
    limits = np.iinfo(integer)
    nan = 1 << (limits.bits - 1) if "64" in to + source else 0
    expected = [
        nan if np.isnan(value) else limits.max if value == np.inf else limits.min if value == -np.inf
        else min(max(int(rounded(value)), limits.min), limits.max)
        for value in x
    ]  # fmt: skip
    result = evaluate(f"cvt.{mode}.{to}.{source} %d, %a;", x, result=integer)
    assert np.array_equal(result, wrapped(expected, integer))


@pytest.mark.parametrize("source", [np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize(("to", "dtype"), [("f32", np.float32), ("f64", np.float64)])
def test_from_integers(to: str, dtype: type, source: type) -> None:
    x = integers(source, 0)
    name = f"{np.dtype(source).kind.replace('i', 's')}{8 * np.dtype(source).itemsize}"
    expected = np.array([float(value) for value in x.tolist()]) if dtype is np.float64 else x.astype(dtype)
    assert np.array_equal(evaluate(f"cvt.rn.{to}.{name} %d, %a;", x, result=dtype), expected)


def test_between_floating_point_types() -> None:
    x, wide = floats(np.float32, 0), floats(np.float64, 1)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(evaluate("cvt.rn.f16.f32 %d, %a;", x, result=np.float16), x.astype(np.float16))
        np.testing.assert_array_equal(
            evaluate("cvt.rn.f32.f64 %d, %a;", wide, result=np.float32), wide.astype(np.float32)
        )
        halves = x.astype(np.float16)
    np.testing.assert_array_equal(evaluate("cvt.f32.f16 %d, %a;", halves, result=np.float32), halves.astype(np.float32))
    np.testing.assert_array_equal(evaluate("cvt.f64.f32 %d, %a;", x, result=np.float64), x.astype(np.float64))
    np.testing.assert_array_equal(evaluate("cvt.rmi.f32.f32 %d, %a;", x, result=np.float32), np.floor(x))


def bfloat16(values: np.ndarray) -> np.ndarray:
    """torch's rounding, as bits."""
    return torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


def number(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_bfloat16_conversions() -> None:
    x = floats(np.float32, 0)
    bits = evaluate("cvt.rn.bf16.f32 %d, %a;", x, result=np.uint16)
    np.testing.assert_array_equal(number(bits), number(bfloat16(x)))
    np.testing.assert_array_equal(evaluate("cvt.f32.bf16 %d, %a;", bits, result=np.float32), number(bits))


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_pairs_of_halves(name: str) -> None:
    x, y = floats(np.float32, 0), floats(np.float32, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        make = (lambda v: v.astype(np.float16).view(np.uint16)) if name == "f16" else bfloat16
        read = (lambda b: b.view(np.float16).astype(np.float32)) if name == "f16" else number
        pair = evaluate(f"cvt.rn.{name}x2.f32 %d, %a, %b;", x, y, result=np.uint32).view(np.uint16).reshape(-1, 2)
        np.testing.assert_array_equal(read(pair[:, 0].copy()), read(make(y)))
        np.testing.assert_array_equal(read(pair[:, 1].copy()), read(make(x)))
        low, high = read(make(x)), read(make(y))
        for opcode, function in [("add", np.add), ("mul", np.multiply), ("max", np.fmax)]:
            operands = np.stack([make(x), make(y)], axis=1).view(np.uint32).reshape(-1)
            swapped = np.stack([make(y), make(x)], axis=1).view(np.uint32).reshape(-1)
            result = evaluate(f"{opcode}.{name}x2 %d, %a, %b;", operands, swapped, result=np.uint32)
            halves = read(result.view(np.uint16)).reshape(-1, 2)
            np.testing.assert_array_equal(halves[:, 0], read(make(function(low, high))))
            np.testing.assert_array_equal(halves[:, 1], read(make(function(high, low))))


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_fma_of_halves(name: str) -> None:
    generator = np.random.default_rng(0)
    a, b, c = generator.standard_normal((3, SIZE)).astype(np.float32)
    make = (lambda v: v.astype(np.float16).view(np.uint16)) if name == "f16" else bfloat16
    read = (lambda v: v.view(np.float16).astype(np.float32)) if name == "f16" else number
    a, b, c = (make(values) for values in (a, b, c))
    expected = make((read(a).astype(np.float64) * read(b) + read(c)).astype(np.float32))
    result = evaluate(f"fma.rn.{name} %d, %a, %b, %c;", a, b, c, result=np.uint16)
    assert np.array_equal(result, expected)
