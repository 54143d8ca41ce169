"""Running single generated layer functions on arrays, many in one program: for tests of kernels and schedules."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..codegen_gap8 import runtime
from ..errors import DwfuseError
from . import gvsoc, toolchain
from .process import ProgramError, execute
from .rv32 import command as qemu

_COUNTERS = (
    "activation_in",
    "activation_out",
    "constant_in",
    "dma_transfers",
    "l3_in",
    "l3_out",
    "l3_transfers",
)
_KERNELS = runtime.FOLDER.parent / "kernels"
#: Functions that share a translation unit: reading the headers costs more than compiling one of them.
_FUNCTIONS_A_FILE = 24


@dataclass(frozen=True, eq=False)
class LayerCase:
    """One call ``function(core, l1, *arguments)`` by all cores.

    Args:
        source: C text that defines the function, and nothing else that is visible outside of it. Static names must
            differ between the cases of one call of :func:`run_layers`.
        function: its name.
        arguments: C-contiguous arrays (uint8, int8 or int32) and integers, in the order of the parameters.
        output: position in ``arguments`` of the array that is handed back.
        l1_bytes: size of the L1 arena.
    """

    source: str = field(repr=False)
    function: str
    arguments: tuple[np.ndarray | int, ...] = field(repr=False)
    output: int
    l1_bytes: int


@dataclass(frozen=True, eq=False)
class LayerResult:
    """The output array after the call, the counters of bytes, and the ticks.

    Ticks are microseconds on the host, instructions of all harts on RV32, cycles on GVSOC, which counts no bytes.
    """

    output: np.ndarray
    counters: dict[str, int]
    ticks: int


def run_layers(
    cases: Sequence[LayerCase],
    runner: str = "host",
    cores: int = 8,
    sanitize: str | None = None,
    *,
    dma_late: bool = False,
    kernels: Sequence[Path] | None = None,
    time_limit: float = 120,
) -> list[LayerResult]:
    """Compile the cases to one program, run it and return a result for each.

    Args:
        cases: what to run.
        runner: "host", "rv32" or "gvsoc".
        cores: of the cluster; the functions must have been generated for as many.
        sanitize: on the host, "address,undefined" or "thread".
        dma_late: bytes of a transfer move when it is waited for.
        kernels: C files the functions call; headers beside them are found. By default those of this package.
        time_limit: seconds for the run of all cases.

    Raises:
        DwfuseError: a tool is missing, a source does not compile, or a case fails; the message has its number.
    """
    if not cases:
        return []
    kernels = sorted(_KERNELS.glob("*.c")) if kernels is None else kernels
    include = [runtime.FOLDER, *sorted({path.parent for path in kernels})]
    with tempfile.TemporaryDirectory(prefix="dwfuse-cases-") as temporary:
        folder = Path(temporary)
        calls, generated = _write_sources(cases, folder)
        sources = [*generated, *kernels]
        (folder / "cases.bin").write_bytes(_encode(cases, calls, cores))
        if runner == "gvsoc":
            sources += runtime.sources("gap8", runtime.CASES_MAIN)
            line = gvsoc.prepare_program("cases", sources, include, folder)
        else:
            line = _built(_toolchain(runner, sanitize, dma_late), sources, include, folder)
        _execute(line, folder, cases, time_limit)
        return _decode(cases, folder)


def _built(tools: toolchain.Toolchain, sources: list[Path], include: Sequence[Path], folder: Path) -> list[str]:
    """The command that runs the program of these sources, which this builds."""
    everything = [*sources, *runtime.sources(tools.platform, runtime.CASES_MAIN)]
    program = toolchain.build(tools, everything, include, folder / "cases")
    return [str(program)] if tools.platform == "host" else qemu(program)


def _toolchain(runner: str, sanitize: str | None, dma_late: bool) -> toolchain.Toolchain:
    if runner == "host":
        return toolchain.host(sanitize, dma_late)
    if runner != "rv32":
        raise DwfuseError(f"layers cannot run on {runner!r}; runners are 'host', 'rv32' and 'gvsoc'")
    if sanitize:
        raise DwfuseError("sanitizers run on the host only; leave out sanitize or choose runner 'host'")
    return toolchain.rv32(dma_late)


def _execute(line: list[str], folder: Path, cases: Sequence[LayerCase], time_limit: float) -> None:
    try:
        execute(line, folder, "layers", time_limit)
    except ProgramError as error:
        begun = re.findall(r"^case (\d+)$", error.log, re.MULTILINE)
        if not begun:
            raise
        at = int(begun[-1])
        raise type(error)(f"case {at} ({cases[at].function})", error.reason, error.log) from error


def _signature(case: LayerCase) -> str:
    return "".join("a" if isinstance(argument, np.ndarray) else "i" for argument in case.arguments)


def _write_sources(cases: Sequence[LayerCase], folder: Path) -> tuple[list[int], list[Path]]:
    """Write the functions and their calls; returns the index of each case's call, and the files."""
    indices: dict[tuple[str, str, str], int] = {}
    calls = [indices.setdefault((case.source, case.function, _signature(case)), len(indices)) for case in cases]
    functions = list(indices)
    files = []
    for first in range(0, len(functions), _FUNCTIONS_A_FILE):
        texts = [
            _function_text(index, *functions[index])
            for index in range(first, min(first + _FUNCTIONS_A_FILE, len(functions)))
        ]
        text = "\n".join(['#include "dwfuse_cases.h"', *texts])
        files.append(folder / f"functions_{hashlib.sha256(text.encode()).hexdigest()[:16]}.c")
        files[-1].write_text(text)
    table = folder / "calls.c"
    table.write_text(_table_text(len(functions)))
    return calls, [*files, table]


def _call_declaration(index: int) -> str:
    return f"void dwfuse_case_call_{index}(int core, uint8_t *l1, const dwfuse_argument_t *a)"


def _function_text(index: int, source: str, function: str, signature: str) -> str:
    """One function under a name of its own, so that cases may use the same one, and the call of it."""
    values = [f"a[{at}].{'array' if kind == 'a' else 'integer'}" for at, kind in enumerate(signature)]
    return "\n".join(
        [
            f"#define {function} {function}_case_{index}",
            f'#line 1 "{function}_case_{index}"',
            source,
            f"{_call_declaration(index)};",
            f"{_call_declaration(index)} {{ {function}({', '.join(['core', 'l1', *values])}); }}",
            f"#undef {function}",
        ]
    )


def _table_text(count: int) -> str:
    names = ", ".join(f"dwfuse_case_call_{index}" for index in range(count))
    return "\n".join(
        [
            '#include "dwfuse_cases.h"',
            *(f"{_call_declaration(index)};" for index in range(count)),
            "void (*const dwfuse_case_calls[])(int core, uint8_t *l1, const dwfuse_argument_t *arguments) = {",
            f"  {names}}};",
            "",
        ]
    )


def _words(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def _encode(cases: Sequence[LayerCase], calls: Sequence[int], cores: int) -> bytes:
    parts = [_words(len(cases), cores)]
    for case, call in zip(cases, calls, strict=True):
        parts.append(_words(call, case.l1_bytes, len(case.arguments), case.output))
        for argument in case.arguments:
            if isinstance(argument, np.ndarray):
                parts += [_words(1, argument.nbytes), argument.tobytes()]
            else:
                parts.append(_words(0, int(argument)))
    return b"".join(parts)


def _output(case: LayerCase) -> np.ndarray:
    array = case.arguments[case.output]
    if not isinstance(array, np.ndarray):
        raise DwfuseError(f"{case.function}: argument {case.output} is no array, it cannot be the output")
    return array


def _decode(cases: Sequence[LayerCase], folder: Path) -> list[LayerResult]:
    words = np.fromfile(folder / "results.bin", "<u4").reshape(len(cases), 1 + len(_COUNTERS))
    results = []
    for number, case in enumerate(cases):
        expected = _output(case)
        output = np.fromfile(folder / f"output{number}.bin", expected.dtype).reshape(expected.shape)
        counters = dict(zip(_COUNTERS, map(int, words[number, 1:]), strict=True))
        results.append(LayerResult(output, counters, int(words[number, 0])))
    return results
