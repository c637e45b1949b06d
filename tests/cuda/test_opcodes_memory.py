"""Loads, stores, atomics, warp collectives and control flow, against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.cuda.evaluate import SIZE, evaluate, integers, run_ptx
from tests.cuda.interpreter import KernelError

LANE = np.arange(SIZE) % 32
WARP_START = np.arange(SIZE) - LANE


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_loads_extend(dtype: type) -> None:
    x = integers(dtype, 0)
    name = f"{np.dtype(dtype).kind.replace('i', 's')}{8 * np.dtype(dtype).itemsize}"
    result = evaluate(f".reg .b64 %x; ld.global.{name} %x, [%p1]; mov.b64 %d, %x;", x, result=np.int64)
    assert np.array_equal(result, x.astype(np.int64))


@pytest.mark.parametrize(("count", "bits"), [(2, 32), (4, 32), (4, 8), (2, 64), (2, 16), (4, 16)])
def test_vectors(count: int, bits: int) -> None:
    """Each lane loads a vector and stores it reversed."""
    x = integers(np.dtype(f"u{bits // 8}").type, 0)[: 32 * count]
    y = np.zeros_like(x)
    names = [f"%v{i}" for i in range(count)]
    body = f"""
        .reg .b{max(bits, 16)} %v<{count}>; .reg .b32 %t; .reg .b64 %o, %p, %q;
        mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, {count * bits // 8};
        ld.param.u64 %p, [p0]; add.s64 %p, %p, %o; ld.param.u64 %q, [p1]; add.s64 %q, %q, %o;
        ld.global.v{count}.b{bits} {{{", ".join(names)}}}, [%p];
        st.global.v{count}.b{bits} [%q], {{{", ".join(reversed(names))}}};
        ret;
    """
    run_ptx(body, [x, y])
    assert np.array_equal(y.reshape(-1, count), x.reshape(-1, count)[:, ::-1])


def test_generic_addresses_reach_every_space() -> None:
    """Even lanes write to shared memory, odd ones to local memory, through one store instruction."""
    x = integers(np.int32, 0)
    code = """
        .shared .align 4 .b8 cells[1024]; .local .align 4 .b8 own[8];
        .reg .b64 %s, %l, %g; .reg .b32 %odd;
        mov.u64 %s, cells; mul.wide.u32 %g, %t, 4; add.s64 %s, %s, %g; cvta.shared.u64 %s, %s;
        mov.u64 %l, own; cvta.local.u64 %l, %l;
        and.b32 %odd, %t, 1; setp.eq.s32 %pred0, %odd, 1; selp.b64 %g, %l, %s, %pred0;
        st.u32 [%g], %a; ld.u32 %d, [%g];
        isspacep.shared %pred1, %g; @%pred1 add.s32 %d, %d, 1;
    """
    assert np.array_equal(evaluate(code, x, result=np.int32), x + (np.arange(SIZE) % 2 == 0))


def test_parameters_have_addresses() -> None:
    """%p1 is the address of an array, and the second parameter of 8 bytes."""
    code = "mov.b64 %p2, p0; and.b32 %t, %t, 1; mul.wide.u32 %p3, %t, 8; add.s64 %p2, %p2, %p3; ld.param.u64 %d, [%p2];"
    addresses = evaluate(code, np.zeros(SIZE, np.int32), result=np.uint64)
    assert np.array_equal(addresses, np.where(np.arange(SIZE) % 2 == 0, addresses[0], addresses[1]))
    with pytest.raises(KernelError, match=r"memcheck: load of 8 bytes .* outside of 16 bytes of parameters"):
        evaluate("mov.b64 %p2, p0; ld.param.u64 %d, [%p2+16];", np.zeros(SIZE, np.int32), result=np.uint64)


UPDATES = {
    "add.u32": (np.uint32, np.add),
    "add.f32": (np.float32, np.add),
    "add.u64": (np.uint64, np.add),
    "min.s32": (np.int32, np.minimum),
    "max.u32": (np.uint32, np.maximum),
    "and.b32": (np.uint32, np.bitwise_and),
    "or.b32": (np.uint32, np.bitwise_or),
    "xor.b32": (np.uint32, np.bitwise_xor),
}
PLACES = 7


def atomic(space: str, operation: str, values: np.ndarray, cells: np.ndarray, others: str = "") -> np.ndarray:
    """Lanes t update cell t % 7 by `values`; returns what each found there."""
    old = np.zeros_like(values)
    bits, width = 8 * values.itemsize, values.itemsize
    body = f"""
        .shared .align 8 .b8 shared_cells[64];
        .reg .b32 %t, %place; .reg .b64 %o, %v, %r, %c, %g, %s; .reg .b{bits} %x, %old; .reg .pred %first;
        mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, {width};
        rem.u32 %place, %t, {PLACES}; mul.wide.u32 %c, %place, {width};
        ld.param.u64 %v, [p0]; add.s64 %v, %v, %o;
        ld.param.u64 %r, [p1]; add.s64 %r, %r, %o;
        ld.param.u64 %g, [p2]; add.s64 %g, %g, %c;
        mov.u64 %s, shared_cells; add.s64 %s, %s, %c;
        setp.lt.u32 %first, %t, {PLACES};
        @%first ld.global.b{bits} %x, [%g];
        @%first st.shared.b{bits} [%s], %x;
        bar.sync 0;
        ld.global.b{bits} %x, [%v];
        atom.{space}.{operation} %old, [{"%s" if space == "shared" else "%g"}], %x{others};
        st.global.b{bits} [%r], %old;
        bar.sync 0;
        setp.{"lt" if space == "shared" else "gt"}.and.u32 %first, %t, {PLACES}, %first;
        @%first ld.shared.b{bits} %x, [%s];
        @%first st.global.b{bits} [%g], %x;
        ret;
    """
    run_ptx(body, [values, old, cells], block=SIZE)
    return old


@pytest.mark.parametrize("operation", UPDATES)
@pytest.mark.parametrize("space", ["global", "shared"])
def test_atomics_that_meet_take_turns(space: str, operation: str) -> None:
    dtype, function = UPDATES[operation]
    values = np.arange(SIZE).astype(dtype) if dtype is np.float32 else integers(dtype, 0)
    cells = np.arange(PLACES).astype(dtype)
    old = atomic(space, operation, values, cells)
    for place in range(PLACES):
        mine = values[place::PLACES]
        expected = function.accumulate(np.append(dtype(place), mine), dtype=dtype)
        assert np.array_equal(old[place::PLACES], expected[:-1])
        assert cells[place] == expected[-1]


def test_exchanges() -> None:
    values, cells = np.arange(1, SIZE + 1, dtype=np.uint32), np.zeros(PLACES, np.uint32)
    old = atomic("global", "exch.b32", values, cells)
    assert np.array_equal(old, np.append(np.zeros(PLACES), values[:-PLACES]))
    cells = np.zeros(PLACES, np.uint32)
    old = atomic("shared", "cas.b32", np.zeros(SIZE, np.uint32), cells, others=", %t")
    assert np.array_equal(cells, [PLACES, *range(1, PLACES)])  # lane 0 put 0 there, so that lane 7 came in as well
    assert np.array_equal(old[PLACES:], cells[np.arange(PLACES, SIZE) % PLACES] * (np.arange(PLACES, SIZE) != PLACES))


def test_counters_that_wrap() -> None:
    cells = np.zeros(PLACES, np.uint32)
    old = atomic("global", "inc.u32", np.full(SIZE, 4, np.uint32), cells)
    assert np.array_equal(old, np.arange(SIZE) // PLACES % 5)
    cells = np.full(PLACES, 2, np.uint32)
    old = atomic("global", "dec.u32", np.full(SIZE, 4, np.uint32), cells)
    assert np.array_equal(old, (2 - np.arange(SIZE) // PLACES) % 5)


def test_atomic_sums_of_pairs_of_halves() -> None:
    values, cells = np.tile(np.array([1.0, -0.5], np.float16), SIZE).view(np.uint32), np.zeros(PLACES, np.uint32)
    atomic("global", "add.noftz.f16x2", values, cells)
    counts = np.bincount(np.arange(SIZE) % PLACES)
    assert np.array_equal(cells.view(np.float16).reshape(-1, 2), np.stack([counts, -0.5 * counts], axis=1))


@pytest.mark.parametrize("width", [32, 8])
@pytest.mark.parametrize(
    ("mode", "by", "source"),
    [
        ("up", 3, lambda lane, first, width: np.where(lane - 3 >= first, lane - 3, lane)),
        ("down", 3, lambda lane, first, width: np.where(lane + 3 < first + width, lane + 3, lane)),
        ("bfly", 5, lambda lane, first, width: np.where((lane ^ 5) < first + width, lane ^ 5, lane)),
        ("idx", 6, lambda lane, first, width: first + 6 % width),
    ],
)
def test_shuffles(mode: str, by: int, source: Callable, width: int) -> None:
    x = integers(np.int32, 0)
    packed = (32 - width) << 8 | (0 if mode == "up" else 31)  # as __shfl_*_sync packs its width
    lanes = WARP_START + source(LANE, LANE // width * width, width)
    result = evaluate(f"shfl.sync.{mode}.b32 %d, %a, {by}, {packed}, 0xffffffff;", x, result=np.int32)
    assert np.array_equal(result, x[lanes])


def test_shuffle_tells_whether_its_source_exists() -> None:
    code = "shfl.sync.down.b32 %d|%pred0, %a, 30, 31, -1; selp.b32 %d, 1, 0, %pred0;"
    assert np.array_equal(evaluate(code, integers(np.int32, 0), result=np.int32), LANE < 2)


def by_warp(values: np.ndarray, function: Callable) -> np.ndarray:
    return np.repeat([function(row) for row in values.reshape(-1, 32)], 32)


def test_votes() -> None:
    x = np.random.default_rng(0).integers(0, 2, SIZE, np.int32)
    x[32:64], x[64:96] = 1, 0
    masks = by_warp(x, lambda row: sum(int(bit) << i for i, bit in enumerate(row)))
    predicate = "setp.ne.s32 %pred0, %a, 0;"
    assert np.array_equal(evaluate(f"{predicate} vote.sync.ballot.b32 %d, %pred0, -1;", x, result=np.uint32), masks)
    for mode, function in {"any": np.any, "all": np.all, "uni": lambda row: row.all() or not row.any()}.items():
        code = f"{predicate} vote.sync.{mode}.pred %pred1, %pred0, -1; selp.b32 %d, 1, 0, %pred1;"
        assert np.array_equal(evaluate(code, x, result=np.int32), by_warp(x, function))


def test_matches() -> None:
    x = np.random.default_rng(0).integers(-2, 3, SIZE, np.int32)
    expected = [sum(int(y == value) << i for i, y in enumerate(row)) for row in x.reshape(-1, 32) for value in row]
    assert np.array_equal(evaluate("match.any.sync.b32 %d, %a, -1;", x, result=np.uint32), expected)


@pytest.mark.parametrize(("opcode", "function"), [("add.s32", np.sum), ("min.s32", np.min), ("max.s32", np.max)])
def test_reductions(opcode: str, function: Callable) -> None:
    x = np.random.default_rng(0).integers(-1000, 1000, SIZE, np.int32)
    assert np.array_equal(evaluate(f"redux.sync.{opcode} %d, %a, -1;", x, result=np.int32), by_warp(x, function))


def test_a_collective_waits_for_its_mask() -> None:
    """The halves of a warp come to the same shuffle after loops of different lengths."""
    x = integers(np.int32, 0)
    code = """
        .reg .b32 %turns;
        and.b32 %turns, %t, 16; shl.b32 %turns, %turns, 2;
        $loop: sub.s32 %turns, %turns, 1; setp.gt.s32 %pred0, %turns, 0; @%pred0 bra $loop;
        shfl.sync.bfly.b32 %d, %a, 16, 31, -1;
    """
    assert np.array_equal(evaluate(code, x, result=np.int32), x[np.arange(SIZE) ^ 16])


def test_the_parts_of_a_mask_go_on_alone() -> None:
    x = integers(np.int32, 0)
    code = """
        .reg .b32 %mask, %odd;
        and.b32 %odd, %t, 1; setp.eq.s32 %pred0, %odd, 1; selp.b32 %mask, 0xAAAAAAAA, 0x55555555, %pred0;
        @%pred0 bra $odd;
        shfl.sync.idx.b32 %d, %a, 0, 31, %mask; bra $end;
        $odd: shfl.sync.idx.b32 %d, %a, 1, 31, %mask;
        $end:
    """
    assert np.array_equal(evaluate(code, x, result=np.int32), x[WARP_START + LANE % 2])


def test_lanes_that_have_ended_are_not_waited_for() -> None:
    x = np.ones(SIZE, np.int32)
    code = "and.b32 %d, %t, 3; setp.eq.s32 %pred0, %d, 0; @%pred0 ret; vote.sync.ballot.b32 %d, 1, -1;"
    assert np.array_equal(evaluate(code, x, result=np.uint32), np.where(LANE % 4 == 0, 0, 0xEEEEEEEE))


def test_branches_to_a_table() -> None:
    x = np.random.default_rng(0).integers(0, 3, SIZE, np.int32)
    code = """
        $table: .branchtargets $zero, $one, $two;
        brx.idx %a, $table;
        $zero: mov.b32 %d, 10; bra $end;
        $one: mov.b32 %d, 20; bra $end;
        $two: mov.b32 %d, 30;
        $end:
    """
    assert np.array_equal(evaluate(code, x, result=np.int32), (x + 1) * 10)


def test_functions_are_called() -> None:
    x = integers(np.int32, 0)
    outside = """
        .func (.param .b32 result) twice_plus(.param .b32 value, .param .b32 more) {
            .reg .b32 %x, %y; .reg .pred %p;
            ld.param.b32 %x, [value]; ld.param.b32 %y, [more];
            setp.eq.s32 %p, %y, 0; @%p bra $L_skip;
            add.s32 %x, %x, %x;
            $L_skip: add.s32 %x, %x, %y; st.param.b32 [result], %x; ret;
        }
    """
    call = "{{ .param .b32 v; .param .b32 m; .param .b32 r; st.param.b32 [v], {0}; st.param.b32 [m], {1};"
    call += " call.uni (r), twice_plus, (v, m); ld.param.b32 %d, [r]; }}"
    code = call.format("%a", "1") + call.format("%d", "0")
    expected = (2 * x.astype(np.int64) + 1).astype(np.int32)
    assert np.array_equal(evaluate(code, x, result=np.int32, outside=outside), expected)


@pytest.mark.parametrize(("operation", "function"), [("and.pred", np.all), ("or.pred", np.any), ("popc.u32", np.sum)])
def test_barriers_that_reduce(operation: str, function: Callable) -> None:
    for x in (np.zeros(SIZE, np.int32), np.ones(SIZE, np.int32), (np.arange(SIZE) == 200).astype(np.int32)):
        result = "%d" if operation.startswith("popc") else "%pred1"
        code = f"setp.ne.s32 %pred0, %a, 0; bar.red.{operation} {result}, 0, %pred0;"
        code += "" if result == "%d" else "selp.b32 %d, 1, 0, %pred1;"
        assert np.array_equal(evaluate(code, x, result=np.int32), np.full(SIZE, function(x)))


def test_a_loop_that_waits_for_another_block_ends() -> None:
    """Block 0, which has the lower program counter while it waits, needs what the last block writes."""
    flag, result = np.zeros(1, np.int32), np.zeros(1, np.int32)
    body = """
        .reg .b32 %block, %x; .reg .b64 %flag, %result; .reg .pred %p;
        mov.u32 %block, %ctaid.x; ld.param.u64 %flag, [p0]; ld.param.u64 %result, [p1];
        setp.eq.u32 %p, %block, 0; @!%p bra $later;
        $wait: ld.volatile.global.u32 %x, [%flag]; setp.eq.s32 %p, %x, 0; @%p bra $wait;
        st.global.u32 [%result], %x; ret;
        $later: setp.eq.u32 %p, %block, 3; @!%p ret; st.volatile.global.u32 [%flag], 42; ret;
    """
    run_ptx(body, [flag, result], grid=4, block=1)
    assert result[0] == 42
