"""Reads PTX: modules, kernels, instructions with their source lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .errors import InterpreterError
from .values import immediate, ptx_type


@dataclass(frozen=True)
class Location:
    """A source line, and the line into which it was inlined."""

    file: str
    line: int
    caller: Location | None = None

    def __str__(self) -> str:
        path = Path(self.file)
        here = Path.cwd()
        shown = path.relative_to(here) if path.is_relative_to(here) else Path(*path.parts[-2:])
        return f"{shown}:{self.line}" + (f" (inlined at {self.caller})" if self.caller else "")


@dataclass
class Instruction:
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[str, ...]
    location: Location | None
    text: str
    guard: str | None = None  # a predicate, with "!" in front where it is negated

    @property
    def type(self) -> str:
        return self.modifiers[-1]

    def __str__(self) -> str:
        return f"{self.location}: {self.text}" if self.location else self.text


@dataclass
class Kernel:
    name: str
    parameters: dict[str, tuple[int, int]]  # offset, bytes
    registers: dict[str, str] = field(default_factory=dict)  # name to type
    shared: dict[str, int] = field(default_factory=dict)  # name to offset
    shared_bytes: int = 0
    local: dict[str, int] = field(default_factory=dict)
    local_bytes: int = 0
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # to an index into code
    branch_targets: dict[str, list[str]] = field(default_factory=dict)  # of brx.idx


_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_HEAD = re.compile(
    r"\.(?P<kind>entry|func)\s*(?:\((?P<returns>[^)]*)\))?\s*(?P<name>[\w$]+)\s*\((?P<parameters>.*?)\)[^{;]*\{", re.S
)
_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(?:\.ptr\s+(?:\.(?!align)\w+\s+)*(?:\.align\s+\d+\s+)?)?([\w$]+)(?:\[(\d+)\])?"
)
_VARIABLE = re.compile(
    r"\.(?P<space>global|const|shared|local)\s+(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+"
    r"(?P<name>[\w$]+)(?P<array>\[(?P<count>\d*)\])?\s*(?:=\s*\{?(?P<values>[^;}]*)\}?)?\s*$"
)
_TOKEN = re.compile(
    r"\s+|(?P<loc>\.loc\s[^\n]*)|(?P<brace>[{}])|(?P<label>[\w$]+):(?!:)|(?P<statement>[^;{}\s][^;]*);", re.S
)
_LOC = re.compile(r"\.loc\s+(\d+)\s+(\d+)(?:.*inlined_at\s+(\d+)\s+(\d+))?")
_NAME = re.compile(r"[%\w$.@]+")
_CALL = re.compile(r"call(?:\.uni)?\s*(?:\(([^)]*)\)\s*,)?\s*([\w$]+)\s*(?:,\s*\(([^)]*)\))?\s*;")


def split_operands(text: str) -> tuple[str, ...]:
    """At the commas outside brackets and braces."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    parts.append(text[start:].strip())
    return tuple(part for part in parts if part)


def _close(text: str, start: int) -> int:
    """Behind the brace that closes the one before `start`."""
    depth = 1
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.end()
    raise InterpreterError("PTX ends within a body")


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _names(declarations: str | None) -> list[str]:
    return re.findall(r"([\w$]+)(?:\[\d+\])?\s*(?:,|$)", declarations or "")


class Module:
    """The kernels and variables of one PTX text. A kernel is parsed when it is first asked for."""

    def __init__(self, text: str) -> None:
        self.files = {int(n): path for n, path in re.findall(r'\.file\s+(\d+)\s+"([^"]*)"', text)}
        text = _COMMENT.sub("", text)
        self._entries: dict[str, tuple[str, str]] = {}
        self._functions: dict[str, tuple[list[str], list[str], str]] = {}
        outside, end = [], 0
        for head in _HEAD.finditer(text):
            if head.start() < end:
                continue
            outside.append(text[end : head.start()])
            end = _close(text, head.end())
            body = text[head.end() : end - 1]
            if head["kind"] == "entry":
                self._entries[head["name"]] = (head["parameters"], body)
            else:
                self._functions[head["name"]] = (_names(head["returns"]), _names(head["parameters"]), body)
        outside.append(text[end:])
        self.variables: dict[str, np.ndarray] = {}  # .global and .const, with their initial values
        self.shared: dict[str, tuple[int, int]] = {}  # .shared outside a function: alignment, bytes; 0 bytes: dynamic
        for statement in "".join(outside).split(";"):
            self._declare(statement)
        self._kernels: dict[str, Kernel] = {}
        self._inlined = 0

    def _declare(self, statement: str) -> None:
        match = _VARIABLE.search(statement)
        if match is None:
            return
        raw = ptx_type(match["type"]).raw
        count = int(match["count"] or 0) if match["array"] else 1
        if match["space"] == "shared":
            self.shared[match["name"]] = (int(match["align"] or raw.itemsize), count * raw.itemsize)
            return
        values = np.zeros(count, raw)
        if match["values"]:
            given = [_initial_value(word, raw) for word in match["values"].split(",")]
            values[: len(given)] = given
        self.variables[match["name"]] = values

    def kernel(self, name: str) -> Kernel:
        if name not in self._kernels:
            parameters, body = self._entries[name]
            self._kernels[name] = _KernelParser(self, name, parameters).parse(self._inline(body))
        return self._kernels[name]

    def _inline(self, body: str) -> str:
        """Calls become the bodies of the functions that they call."""

        def expand(call: re.Match) -> str:
            result, name, arguments = call.groups()
            if name == "vprintf":
                return ""
            if name == "__assertfail":
                return "trap;"
            if name not in self._functions:
                raise InterpreterError(f"call of {name}, which the module does not define")
            returns, parameters, text = self._functions[name]
            self._inlined += 1
            suffix = f"_inlined{self._inlined}"
            renamed = dict(zip(parameters, split_operands(arguments or ""), strict=True))
            if returns:
                renamed[returns[0]] = result.strip()

            def rename(word: re.Match) -> str:
                return renamed.get(word[0], word[0] + suffix if word[0].startswith("$L") else word[0])

            text = re.sub(r"[\w$]+", rename, self._inline(text))
            leave = f"$L_leave{suffix}"
            return "{" + re.sub(r"\bret;", f"bra {leave};", text) + "}" + f"{leave}:"

        return _CALL.sub(expand, body)


def _initial_value(word: str, raw: np.dtype) -> np.generic:
    word = word.strip()
    if not re.match(r"-?\d", word):
        raise InterpreterError(f"a variable that starts as {word} is not supported")
    return immediate(word, ptx_type(f"b{raw.itemsize * 8}")).view(raw)


class _KernelParser:
    def __init__(self, module: Module, name: str, parameters: str) -> None:
        self.module = module
        offset, layout = 0, {}
        for align, type_name, parameter, count in _PARAMETER.findall(parameters):
            itemsize = ptx_type(type_name).bits // 8
            size = itemsize * int(count or 1)
            offset = _align(offset, int(align or itemsize))
            layout[parameter] = (offset, size)
            offset += size
        self.kernel = Kernel(name, layout)
        self.scopes: list[dict[str, str]] = [{}]  # names declared in inner braces, which may hide outer ones
        self.location: Location | None = None
        self.unique = 0

    def parse(self, body: str) -> Kernel:
        label = ""
        for token in self._tokens(body):
            if token["loc"]:
                self._locate(token["loc"])
            elif token["brace"] == "{":
                self.scopes.append({})
            elif token["brace"] == "}":
                self.scopes.pop()
            elif token["label"]:
                label = token["label"]
                self.kernel.labels[label] = len(self.kernel.code)
            elif token["statement"]:
                self._statement(token["statement"].strip(), label)
        self._place_module_variables(body)
        return self.kernel

    def _tokens(self, body: str) -> Iterator[re.Match]:
        position = 0
        while position < len(body):
            token = _TOKEN.match(body, position)
            if token is None:
                raise InterpreterError(f"cannot read PTX at {body[position : position + 60]!r}")
            yield token
            position = token.end()

    def _locate(self, text: str) -> None:
        file, line, caller_file, caller_line = _LOC.match(text).groups()
        caller = Location(self.module.files[int(caller_file)], int(caller_line)) if caller_file else None
        self.location = Location(self.module.files[int(file)], int(line), caller) if int(line) else self.location

    def _statement(self, text: str, label: str) -> None:
        if text.startswith(".reg"):
            self._registers(text)
        elif text.startswith(".param"):
            self._rename(_PARAMETER.match(text)[3])
        elif text.startswith(".branchtargets"):
            self.kernel.branch_targets[label] = [
                word.strip() for word in text.removeprefix(".branchtargets").split(",")
            ]
        elif variable := _VARIABLE.match(text):
            self._variable(variable)
        elif not text.startswith("."):  # .pragma and the like
            self._instruction(text)

    def _registers(self, text: str) -> None:
        _, type_name, names = text.split(None, 2)
        for name in names.split(","):
            row = re.fullmatch(r"(.+)<(\d+)>", name.strip())
            for register in [f"{row[1]}{i}" for i in range(int(row[2]))] if row else [name.strip()]:
                self.kernel.registers[self._rename(register)] = type_name[1:]

    def _rename(self, name: str) -> str:
        """In an inner scope a name gets a suffix of its own."""
        if len(self.scopes) == 1:
            return name
        self.unique += 1
        self.scopes[-1][name] = f"{name}@{self.unique}"
        return self.scopes[-1][name]

    def _variable(self, match: re.Match) -> None:
        itemsize = ptx_type(match["type"]).bits // 8
        self._place(match["space"], match["name"], int(match["align"] or itemsize), itemsize * int(match["count"] or 1))

    def _place(self, space: str, name: str, alignment: int, size: int) -> None:
        kernel = self.kernel
        if space == "shared":
            kernel.shared[name] = _align(kernel.shared_bytes, alignment)
            kernel.shared_bytes = kernel.shared[name] + size
        else:
            kernel.local[name] = _align(kernel.local_bytes, alignment)
            kernel.local_bytes = kernel.local[name] + size

    def _place_module_variables(self, body: str) -> None:
        """Shared variables of the module that this kernel mentions; the dynamic ones, without a size, come last."""
        for name, (alignment, size) in sorted(self.module.shared.items(), key=lambda item: item[1][1] == 0):
            if name in body:
                self._place("shared", name, max(alignment, 16) if size == 0 else alignment, size)

    def _instruction(self, text: str) -> None:
        match = re.match(r"(?:@(!?[^\s]+)\s+)?(\S+)\s*(.*)", text, re.S)
        guard, opcode, operands = match.groups()
        visible = {name: unique for scope in self.scopes for name, unique in scope.items()}
        if visible:
            operands = _NAME.sub(lambda word: visible.get(word[0], word[0]), operands)
            guard = guard and _NAME.sub(lambda word: visible.get(word[0], word[0]), guard)
        opcode, *modifiers = opcode.split(".")
        instruction = Instruction(
            opcode, tuple(modifiers), split_operands(operands), self.location, " ".join(text.split()), guard
        )
        self.kernel.code.extend(self._without_call_parameters(instruction))

    def _without_call_parameters(self, instruction: Instruction) -> list[Instruction]:
        """The parameters of an inlined call become registers, their loads and stores moves."""
        is_store = instruction.opcode == "st"
        if "param" not in instruction.modifiers or not (is_store or instruction.opcode == "ld"):
            return [instruction]
        memory, values = instruction.operands if is_store else instruction.operands[::-1]
        name, _, displacement = memory.strip("[] ").partition("+")
        if name in self.kernel.parameters or name in self.kernel.registers:  # of the kernel itself
            return [instruction]
        bits = ptx_type(instruction.type).bits
        moves = []
        for i, register in enumerate(split_operands(values.strip("{} "))):
            slot = f"{name}+{int(displacement or 0) + i * bits // 8}"
            self.kernel.registers[slot] = f"b{bits}"
            operands = (slot, register) if is_store else (register, slot)
            moves.append(replace(instruction, opcode="mov", modifiers=(f"b{bits}",), operands=operands))
        return moves
