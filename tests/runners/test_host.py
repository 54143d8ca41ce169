from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import Application, host, toolchain
from tvm_dwfuse.runners.process import result_of

from .conftest import TOY_COUNTERS
from .tools import needs_host, needs_sanitizer

pytestmark = needs_host


def test_output_and_counters(toy) -> None:
    result = host.run(toy.folder, toy.input, check=True)
    assert result.outputs == {"output": toy.output}
    assert result.counters == TOY_COUNTERS
    assert result.unit == "us"


def test_nothing_is_checked_unless_asked_for(toy) -> None:
    assert host.run(toy.folder, toy.input).counters["checked"] == 0


@pytest.mark.parametrize(
    "sanitize",
    [
        None,
        pytest.param("address,undefined", marks=needs_sanitizer("address,undefined")),
        pytest.param("thread", marks=needs_sanitizer("thread")),
    ],
)
@pytest.mark.parametrize("dma_late", [False, True])
def test_clean_under_sanitizers(toy, sanitize: str | None, dma_late: bool) -> None:
    result = host.run(toy.folder, toy.input, sanitize=sanitize, dma_late=dma_late, check=True)
    assert result.outputs["output"] == toy.output
    assert result.counters == TOY_COUNTERS


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("l1", "cannot allocate 42048 bytes of L1"),
        ("l2", "cannot allocate 44096 bytes of L2"),
        ("l3_open", "cannot allocate 41024 bytes of L3"),
        ("l3_read:0", "layer first: reading 40000 bytes of L3 failed"),
        ("l3_read:1", "layer second: reading 1024 bytes of L3 failed"),
    ],
)
def test_a_failing_call_stops_the_program(toy, fail: str, message: str) -> None:
    with pytest.raises(DwfuseError, match=f"^toy: ended with status 1: dwfuse: {message}$"):
        host.run(toy.folder, toy.input, fail=fail)


def test_a_fault_that_is_never_reached_changes_nothing(toy) -> None:
    assert host.run(toy.folder, toy.input, fail="l3_read:2").outputs["output"] == toy.output


@pytest.mark.parametrize("element", [0, 511, 512, 1023])
def test_first_difference_from_golden_is_named(toy, element: int) -> None:
    golden = toy.folder / "golden/second.bin"
    data = bytearray(golden.read_bytes())
    data[element] ^= 1
    golden.write_bytes(data)
    with pytest.raises(DwfuseError, match=f"layer second: element {element} is \\d+, golden is {data[element]}$"):
        host.run(toy.folder, toy.input, check=True)


def test_short_golden_file_is_no_pass(toy) -> None:
    golden = toy.folder / "golden/first.bin"
    golden.write_bytes(golden.read_bytes()[:-1])
    with pytest.raises(DwfuseError, match="layer first: the golden file is too short"):
        host.run(toy.folder, toy.input, check=True)


def test_absent_golden_file_is_passed_over(toy) -> None:
    (toy.folder / "golden/first.bin").unlink()
    assert host.run(toy.folder, toy.input, check=True).counters["checked"] == 2


def test_profile_has_a_row_for_each_layer(toy) -> None:
    header, *rows = host.run(toy.folder, toy.input, profile=True).log.splitlines()[:-1]
    assert header.split() == ["layer", "us", "act.", "in", "act.", "out", "constants", "L3", "in", "L3", "out"]
    assert [(row.split()[0], *map(int, row.split()[2:])) for row in rows] == [
        ("first", 1024, 1024, 0, 40000, 1024),
        ("second", 1024, 1024, 40000, 1024, 0),
    ]


def test_short_weights_stop_the_program(toy) -> None:
    (toy.folder / "weights.bin").write_bytes(b"short")
    with pytest.raises(DwfuseError, match=r"weights\.bin cannot be read: 40000 bytes are needed"):
        host.run(toy.folder, toy.input)


def test_wrong_size_of_input(toy) -> None:
    with pytest.raises(DwfuseError, match="the input has 3 bytes, the network takes 2048"):
        host.run(toy.folder, b"abc")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("for (;;) {}", "not done after 0.5 s"),
        ("_exit(0);", "ended without a result: it printed nothing"),
        ("return 3;", "the network ended with status 3"),
        ("abort();", "ended with status -6"),
        ('printf("{\\"dwfuse\\": 5}\\n"); exit(0);', "its result is damaged"),
        ("dwfuse_l3_read(0, middle, 41000, 25); ", "layer second: a transfer of 25 bytes goes outside L3"),
        ("dwfuse_l3_read(8, middle, 0, 25); ", "layer second: there is no transfer slot 8"),
        ("dwfuse_l3_read(5, middle, 0, 25); ", "nobody waited for the transfer on L3 slot 5"),
    ],
)
def test_no_result_is_a_failure(make_toy, edit: str, message: str) -> None:
    toy = make_toy(
        {
            "#include <string.h>": "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>",
            "  memset(middle, 0, HALF);": edit,
        }
    )
    with pytest.raises(DwfuseError, match=message):
        host.run(toy.folder, toy.input, time_limit=0.5 if "for" in edit else 20)


def test_output_of_an_earlier_run_is_not_taken(toy) -> None:
    application = Application.read(toy.folder)
    line = json.dumps({"dwfuse": {"network": "toy", "ticks": 1, "unit": "us"}})
    assert result_of(application, line, toy.output).ticks == 1
    with pytest.raises(DwfuseError, match="wrote 0 bytes of output, not 1024"):
        result_of(application, line, b"")
    with pytest.raises(DwfuseError, match="the result is that of network other"):
        result_of(application, line.replace("toy", "other"), toy.output)


def test_source_that_does_not_compile(make_toy) -> None:
    toy = make_toy({"return 0;": "return nothing;"})
    with pytest.raises(DwfuseError, match=r"network\.c:\d+:\d+: error: .nothing. undeclared"):
        host.run(toy.folder, toy.input)


def test_application_description(toy, tmp_path: Path) -> None:
    application = Application.read(toy.folder)
    application.write(tmp_path)
    assert Application.read(tmp_path) == application
    (tmp_path / "application.json").write_text("{}")
    with pytest.raises(DwfuseError, match=r"application\.json: damaged"):
        Application.read(tmp_path)
    with pytest.raises(DwfuseError, match="make the application with `dwfuse compile`"):
        Application.read(tmp_path / "nowhere")


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    toolchain._host_command.cache_clear()
    try:
        with pytest.raises(DwfuseError, match="`apt-get install gcc`"):
            toolchain.host()
    finally:
        toolchain._host_command.cache_clear()


def test_unknown_sanitizer_is_refused() -> None:
    with pytest.raises(DwfuseError, match="no sanitizer 'memory'; there are 'address,undefined', 'thread'"):
        toolchain.host("memory")
