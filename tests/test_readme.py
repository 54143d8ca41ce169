"""The README's examples run, and print what stands there."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from tvm_dwfuse import zoo
from tvm_dwfuse.bench import OURS, PEERS
from tvm_dwfuse.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[1]
CROSS_TOOLS = shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A command, or the text of a Python block, and what the README says it prints."""

    code: str
    expected: str


def console_examples() -> list[Example]:
    blocks = [block for kind, block in FENCES if kind == "console"]
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [Example(*(text.strip("\n") for text in part.partition("\n")[::2])) for part in parts]


def python_examples() -> list[Example]:
    following = [*FENCES[1:], ("", "")]
    return [
        Example(code, text.strip("\n") if next_kind == "text" else "")
        for (kind, code), (next_kind, text) in zip(FENCES, following, strict=True)
        if kind == "python"
    ]


def line_pattern(line: str) -> str:
    return re.escape(line.rstrip()).replace(re.escape("..."), ".*") + r" *\n"


def assert_prints(example: Example, printed: str) -> None:
    """Lines agree but for trailing spaces; a line `...` stands for any lines, and `...` in a line for any text."""
    lines = example.expected.splitlines()
    wanted = "".join(r"(?:.*\n)*?" if line == "..." else line_pattern(line) for line in lines)
    got = "".join(line + "\n" for line in printed.splitlines())
    assert re.fullmatch(wanted, got), f"{example.code}\nprinted\n{printed}\nthe README has\n{example.expected}"


def dwfuse(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the line with this Python in place of the one on the path."""
    python = subprocess.list2cmdline([sys.executable])
    line = re.sub(r"^python ", f"{python} ", re.sub(r"^dwfuse ", f"{python} -m tvm_dwfuse ", command))
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True)


def measures(example: Example) -> bool:
    return example.code.startswith(("scripts/", "dwfuse bench", "dwfuse tune")) or bool(
        {"--profile", "--db"} & set(example.code.split())
    )


def is_cross_compiled(example: Example) -> bool:
    """Whether the command needs the AArch64 compiler and emulator; without them the tests of these are skipped."""
    return "board/" in example.code


def test_the_examples_are_found() -> None:
    commands = " ".join(example.code for example in console_examples())
    for command in ("zoo list", "zoo export", "compile", "run", "bench", "explain", "explain m.onnx --threads 1 --p"):
        assert f"dwfuse {command}" in commands
    assert len(python_examples()) == 6
    assert all(example.expected for example in python_examples())


def test_console_examples(tmp_path: Path) -> None:
    for example in console_examples():
        if measures(example) or (is_cross_compiled(example) and not CROSS_TOOLS):
            continue
        result = dwfuse(example.code, tmp_path)
        assert_prints(example, result.stdout + result.stderr)
        assert result.returncode == (2 if example.expected.startswith("error: ") else 0)


def test_bench_example(tmp_path: Path) -> None:
    (example,) = (example for example in console_examples() if example.code.startswith("dwfuse bench"))
    (tmp_path / "m.onnx").write_bytes(zoo.build("ds_cnn_s").SerializeToString())
    result = dwfuse(f"{example.code} --rounds 1", tmp_path)
    assert result.returncode == 0, result.stderr

    shown, printed = example.expected.splitlines(), result.stdout.splitlines()
    assert shown[:2] == printed[:2]
    assert table_engines(shown) == table_engines(printed) == {*OURS, *PEERS}
    content = json.loads((tmp_path / "out.json").read_text())
    assert list(content) == ["model", "target", "threads", "rows", "missing"]
    assert list(content["rows"][0]) == ["engine", "median_ms", "min_ms", "max_abs_err"]


def test_profile_example(tmp_path: Path) -> None:
    (example,) = (example for example in console_examples() if "--profile" in example.code)
    (tmp_path / "m.onnx").write_bytes(zoo.build("mobilenet_v1_0.25_128").SerializeToString())
    printed = dwfuse(example.code, tmp_path).stdout
    *shown, shown_table = example.expected.split("\n\n")
    *told, table = printed.split("\n\n")
    for part, words in zip(shown, told, strict=True):
        assert_prints(Example(example.code, part), words)
    assert operator_calls(shown_table) <= operator_calls(table)


def test_tune_examples(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(zoo.build("ds_cnn_s").SerializeToString())
    tune, *others = (each for each in console_examples() if each.code.startswith("dwfuse") and "db/" in each.code)
    few = dwfuse(tune.code.replace("--trials 200", "--trials 10"), tmp_path)
    assert_prints(Example(tune.code, tune.expected.replace("200 trials", "10 trials")), few.stdout + few.stderr)
    for example in others:
        result = dwfuse(example.code, tmp_path)
        assert_prints(example, result.stdout + result.stderr)
    assert [example.code.split()[1] for example in others] == ["compile", "report"]
    assert "<html" in (tmp_path / "report.html").read_text()


def operator_calls(table: str) -> set[tuple[str, str]]:
    """(operator, calls) of each row of a profile, and of its header; the times are left out."""
    rows = [line.split()[:2] for line in table.splitlines() if line != "..." and set(line) != {"-", " "}]
    return {(name, calls) for name, calls in rows if name != "total"}


def table_engines(lines: list[str]) -> set[str]:
    """The engines of a benchmark's table, and those it names as missing."""
    return {line.removeprefix("missing: ").split()[0] for line in lines[3:] if line != "..."}


def test_python_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(zoo.build("mobilenet_v1_0.25_128").SerializeToString())
    save_input = next(example for example in console_examples() if example.code.startswith("python -c"))
    dwfuse(save_input.code, tmp_path)

    names: dict[str, object] = {"__name__": "readme"}
    for example in python_examples():
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(example.code, "README.md", "exec"), names)
        assert_prints(example, printed.getvalue())


def test_the_table_of_variants_is_complete() -> None:
    assert re.findall(r"^\| `(\w+_(?:rows|channels))` \|", README, re.MULTILINE) == list(VARIANTS)


def test_names_of_today_exist() -> None:
    """The right column of the table for Relay users."""
    _, table = README.split("| then | today |\n")
    rows = [line.split("|")[2] for line in table.partition("\n\n")[0].splitlines()[1:]]
    names = [name for row in rows for name in re.findall(r"`((?:tvm|relax)\.[\w.]+\w)`", row)]
    assert len(names) > 15
    for name in names:
        if not name.startswith("relax.ext."):
            assert resolved(name if name.startswith("tvm.") else f"tvm.{name}") is not None, name


def resolved(dotted: str) -> object:
    """What a dotted name stands for: a module, or an attribute of one, or of a class in it."""
    found: object = import_module("tvm")
    path = "tvm"
    for part in dotted.split(".")[1:]:
        path = f"{path}.{part}"
        if not hasattr(found, part):
            import_module(path)
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_point_to_files_that_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(((?!https?:)[^)#]+)", text):
        assert (page.parent / link).exists(), link
    folders = [ROOT, *(ROOT / top for top in ("tvm_dwfuse", "relay_passes", "schedules"))]
    for name in set(re.findall(r"`([\w/]+(?:\.py|/))`", text)) - {
        "build/",
        "gap8/",
        "board/",
        "c/",
    }:  # what an example writes
        found = any((folder / name).exists() for folder in folders) or list(ROOT.glob(f"*/**/{name}"))
        assert found, f"{page.name} names {name}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_no_machine_paths(page: Path) -> None:
    assert not re.search(r"/(?:root|home|tmp|work)/", page.read_text())
