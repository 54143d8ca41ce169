"""Applications: what is in the folder, and that they compute the golden outputs and move the planned bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.codegen_gap8.geometry import Builder, depthwise, pointwise, stem
from tvm_dwfuse.codegen_gap8.constants import c_definition, packed_constants, weights_file
from tvm_dwfuse.codegen_gap8.memory import plan_memory
from tvm_dwfuse.codegen_gap8.memory_plan import MemoryPlan
from tvm_dwfuse.codegen_gap8.project import print_functions, write_project
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.groups import GroupedNetwork
from tvm_dwfuse.quantization import run_network
from tvm_dwfuse.runners import Application, host, toolchain
from tvm_dwfuse.targets.gap8 import GAP8

#: Bytes of L2, and how the network then is: with all in L2, with constants from L3, with activations in L3 as well.
L2_SIZES = {"resident": 40_000, "streamed": 16_000, "spilled": 9_000}


@cache
def network() -> GroupedNetwork:
    net = Builder(20, 20, 3, with_weights=True)
    net.conv(stem(16), rows=2)
    net.conv(depthwise(16), pointwise(16, 24))
    x = net.conv(pointwise(24, 32), depthwise(32), rows=3, channels=8)
    net.conv(pointwise(32, 48), channels=16, rows=2)
    net.conv(depthwise(48), channels=16, rows=2)
    net.add(x, net.conv(pointwise(48, 32), channels=16, rows=2), chunk=100)
    net.conv(depthwise(32, 2), channels=16, layout="chw")
    net.conv(pointwise(32, 64), channels=16, layout="chw", rows=5)
    net.pool(16)
    net.conv(pointwise(64, 40), channels=8)
    return net.done("tiny")


@cache
def golden() -> dict[str, np.ndarray]:
    image = np.random.default_rng(3).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    return run_network(network().network, {"input": image})


@cache
def plan(kind: str) -> MemoryPlan:
    return plan_memory(network(), replace(GAP8.without_code(0, 0), l2_bytes=L2_SIZES[kind]))


@pytest.fixture(scope="module")
def applications(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    functions = print_functions(network(), GAP8)
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in L2_SIZES}
    for kind, folder in folders.items():
        write_project(network(), plan(kind), GAP8, folder, golden=golden(), functions=functions)
    return folders


@pytest.fixture(params=L2_SIZES)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


def test_the_kinds_are_what_they_are_called() -> None:
    assert plan("resident").mode == "resident"
    assert (plan("streamed").mode, plan("streamed").spilled) == ("streamed", ())
    assert plan("spilled").spilled
    assert any(call.output.row0 for call in plan("spilled").invocations)
    assert any(call.blocks[0] for call in plan("spilled").invocations)


@pytest.mark.parametrize("dma_late", [False, True])
def test_it_computes_the_golden_outputs_and_moves_the_bytes_planned(
    applications: dict[str, Path], kind: str, dma_late: bool
) -> None:
    memory, total = plan(kind), plan(kind).total_traffic
    result = host.run(applications[kind], golden()["input"].tobytes(), check=True, dma_late=dma_late, profile=True)
    assert result.outputs["output"] == golden()[network().network.outputs[0]].tobytes()
    counters = dict(result.counters)
    assert counters.pop("checked") == sum(call.completes for call in memory.invocations)
    assert counters.pop("l3_transfers") == sum(hasattr(step, "bytes") for step in memory.steps)
    assert counters == {
        "activation_in": total.activation_in,
        "activation_out": total.activation_out,
        "constant_in": total.constant_in,
        "dma_transfers": total.transfers,
        "l3_in": memory.l3_in,
        "l3_out": memory.l3_out,
    }
    for group in network().groups:
        row = next(line.split() for line in result.log.splitlines() if line.startswith(f"{group.name}/"))
        moved = memory.traffic[group.name]
        assert [int(row[i]) for i in (2, 3, 4)] == [moved.activation_in, moved.activation_out, moved.constant_in]


def test_it_computes_another_input_under_sanitizers(applications: dict[str, Path]) -> None:
    image = np.random.default_rng(4).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    expected = run_network(network().network, {"input": image})[network().network.outputs[0]]
    result = host.run(applications["spilled"], image.tobytes(), sanitize="address,undefined", dma_late=True)
    assert result.outputs["output"] == expected.tobytes()


def test_a_difference_from_a_golden_output_is_told_with_its_layer(applications: dict[str, Path]) -> None:
    path = applications["spilled"] / "golden" / "pw3.bin"
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DwfuseError, match=r"layer pw3: element 3000 is \d+, golden is \d+"):
        host.run(applications["spilled"], golden()["input"].tobytes(), check=True, profile=True)
    data[3000] ^= 1
    path.write_bytes(data)


def test_a_failing_l3_read_stops_it_with_the_layers_name(applications: dict[str, Path]) -> None:
    reads = [call.group for call in plan("spilled").invocations for step in call.before if hasattr(step, "bytes")]
    data = golden()["input"].tobytes()
    for number in (0, len(reads) - 1):
        with pytest.raises(DwfuseError, match=rf"layer {reads[number]}/0\S*: reading \d+ bytes of L3 failed"):
            host.run(applications["spilled"], data, check=True, profile=True, fail=f"l3_read:{number}")


def test_compilers_have_nothing_to_say(applications: dict[str, Path], kind: str) -> None:
    folder = applications[kind]
    application = Application.read(folder)
    tools = toolchain.host().with_options("-Wall", "-Wextra", "-Wshadow", "-Werror")
    include = [folder / name for name in (*application.include, application.runtime)]
    for name in {"network.c", "constants.c"} & set(application.sources):
        toolchain.compile_object(tools, folder / name, include)


def test_the_makefile_names_files_that_exist(applications: dict[str, Path], kind: str) -> None:
    folder = applications[kind]
    makefile = (folder / "Makefile").read_text()
    assert "include $(RULES_DIR)/pmsis_rules.mk" in makefile
    assert (
        ("READFS_FILES = $(CURDIR)/weights.bin" in makefile)
        == (kind != "resident")
        == (folder / "weights.bin").exists()
    )
    sources = re.search(r"APP_SRCS \+= (.*?)\n\n?APP_INC \+= (.*?)\n", makefile, re.DOTALL)
    assert sources
    names = sources[1].replace("\\\n", " ").split()
    assert all((folder / name).is_file() for name in names)
    assert {f"layers/{group.name}.c" for group in network().groups} < set(names)
    assert "runtime/dwfuse_gap8.c" in names
    assert all((folder / name).is_dir() for name in sources[2].split())


def test_the_readme_is_complete(applications: dict[str, Path], kind: str) -> None:
    text, memory = (applications[kind] / "README.md").read_text(), plan(kind)
    assert "$" not in text
    for region in memory.regions:
        assert f"| {region.address} | {region.bytes} | {region.name} | {region.first} to {region.last} |" in text
    for group in network().groups:
        assert f"| `{group.name}` |" in text
    assert (f"| L3 | {memory.weights_bytes} | constants |" in text) == (kind != "resident")


def test_files_of_the_example_lie_as_in_l2(applications: dict[str, Path]) -> None:
    folder = applications["streamed"]
    assert (folder / "input.bin").read_bytes() == golden()["input"].tobytes()
    for group in network().groups:
        image = golden()[group.output]
        stored = image.transpose(2, 0, 1) if network().layouts[group.output] == "chw" else image
        assert (folder / "golden" / f"{group.name}.bin").read_bytes() == stored.tobytes()


def test_weights_lie_in_the_file_where_the_plan_says() -> None:
    grouped, memory = network(), plan("spilled")
    data = weights_file(grouped.groups, memory.pieces)
    assert len(data) == memory.weights_bytes
    group = next(group for group in grouped.groups if group.name == "pw3")
    layer = group.layers[0]
    first = [piece for piece in memory.pieces if piece.group == "pw3"][-1]
    array = first.arrays[0]
    start = first.offset + array.offset
    found = np.frombuffer(data[start : start + array.bytes], np.int8).reshape(-1, 32)
    assert (found == layer.weights[array.lo : array.hi, :, 0, 0]).all()
    pairs = np.frombuffer(data[start + array.bytes :][: first.arrays[1].bytes], "<i4").reshape(-1, 2)
    assert (pairs[:, 0] == layer.multiplier[array.lo : array.hi]).all()
    assert (pairs[:, 1] == layer.offset[array.lo : array.hi]).all()


def test_constants_in_c_are_all_bytes() -> None:
    array = np.array([[-128, 0], [127, 34]], np.int8)
    assert c_definition("w", array) == 'const int8_t w[4] __attribute__((aligned(4))) =\n  "\\200\\000\\177\\042";\n'
    assert c_definition("q", np.array([[1, -2]], np.int32)) == "const int32_t q[2] = {1, -2};\n"
    assert packed_constants(network().groups[6]) == {}


def test_several_outputs_are_refused() -> None:
    grouped = network()
    wrong = replace(grouped, network=replace(grouped.network, outputs=("pw3_out", "dw4_out")))
    with pytest.raises(DwfuseError, match=r"tiny: has 2 outputs \(pw3_out, dw4_out\), applications have one; cut"):
        write_project(wrong, plan("resident"), GAP8, Path("unused"), golden=golden())


def test_names_that_c_does_not_know_are_told_apart(tmp_path: Path) -> None:
    net = Builder(4, 4, 4, with_weights=True)
    net.conv(pointwise(4, 4))
    net.conv(pointwise(4, 4))
    grouped = net.done('a "network"')
    renamed = {"pw0_out": "a/b", "pw1_out": "a.b"}

    def rename(name: str) -> str:
        return renamed.get(name, name)

    layers = [
        replace(layer, name=f'{layer.name} */ "', inputs=tuple(map(rename, layer.inputs)), output=rename(layer.output))
        for layer in grouped.network.layers
    ]
    activations = {rename(name): replace(a, name=rename(name)) for name, a in grouped.network.activations.items()}
    grouped = GroupedNetwork(
        replace(grouped.network, layers=tuple(layers), activations=activations, outputs=("a.b",)),
        tuple(replace(group, layers=(layer,)) for group, layer in zip(grouped.groups, layers, strict=True)),
        {rename(name): layout for name, layout in grouped.layouts.items()},
    )
    image = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    expected = run_network(grouped.network, {"input": image})
    write_project(grouped, plan_memory(grouped, GAP8), GAP8, tmp_path, golden=expected)
    include = [tmp_path, tmp_path / "kernels", tmp_path / "runtime"]
    toolchain.compile_object(toolchain.host().with_options("-Werror"), tmp_path / "network.c", include)
    text = (tmp_path / "network.c").read_text()
    assert {"L2_A_B", "L2_A_B_2"} <= set(re.findall(r"L2_\w+", text))
