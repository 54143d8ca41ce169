"""Running artifacts through TVM's RPC, on a server of this machine."""

from __future__ import annotations

import platform
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from tvm.rpc.server import Server

import tvm_dwfuse
from tvm_dwfuse import DwfuseError, RemoteNetwork, artifact, rpc

from .commands import fail, succeed
from .conftest import separable_model

PORTS = range(19200, 19999)


def start_server() -> Server:
    return Server("127.0.0.1", PORTS.start, PORTS.stop, silent=True)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = start_server()
    yield f"127.0.0.1:{server.port}"
    server.terminate()


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact for this machine."""
    folder = tmp_path_factory.mktemp("rpc")
    onnx.save(separable_model(), folder / "net.onnx")
    tvm_dwfuse.compile(folder / "net.onnx", threads=1).save(folder / "build")
    return folder / "build"


@pytest.fixture
def foreign(build: Path, tmp_path: Path) -> Path:
    """The artifact, said to be for another architecture."""
    folder = shutil.copytree(build, tmp_path / "foreign")
    path = folder / artifact.MANIFEST
    path.write_text(path.read_text().replace(f'"arch": "{platform.machine()}"', '"arch": "riscv64"'))
    return folder


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for servers are short."""
    monkeypatch.setattr(rpc, "CONNECT_LIMIT_S", 0.3)


def test_outputs_are_those_of_this_process(build: Path, address: str, x: np.ndarray) -> None:
    (expected,) = tvm_dwfuse.load(build).run(x)
    with RemoteNetwork(build, address) as network:
        assert [str(info) for info in network.inputs] == ["x float32[1, 8, 12, 10]"]
        np.testing.assert_array_equal(network.run(x)[0], expected)
        np.testing.assert_array_equal(network.run({"x": x})[0], expected)
        timing = network.time(runs=3)
    assert len(timing.seconds) == 3
    assert 0 < timing.min_ms <= timing.median_ms


def test_several_outputs(tmp_path: Path, address: str, x: np.ndarray) -> None:
    model = separable_model()
    model.graph.output.append(onnx.helper.make_tensor_value_info("a0", onnx.TensorProto.FLOAT, [1, 16, 12, 10]))
    network = tvm_dwfuse.compile(model, threads=1)
    network.save(tmp_path / "build")
    with RemoteNetwork(tmp_path / "build", address) as remote:
        assert [info.name for info in remote.outputs] == ["y:0", "a0"]
        for actual, expected in zip(remote.run(x), network.run(x), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_run_from_the_command_line(
    build: Path, address: str, tmp_path: Path, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x)
    options = ["--input", "x.npy", "--output", "y.npy", "--rpc", address]
    first, second = succeed("run", build, *options).splitlines()
    assert first == "y:0 float32[1, 12, 12, 10] -> y.npy"
    assert second.startswith(f"ran on {address} by TVM's RPC: median ")
    assert second.endswith(" ms of 10 runs")
    assert succeed("run", build, *options, "--runs", 2).endswith(" ms of 2 runs\n")
    np.testing.assert_array_equal(np.load("y.npy"), tvm_dwfuse.load(build).run(x)[0])


def test_a_smaller_pool_is_told(build: Path, address: str, tmp_path: Path, x: np.ndarray) -> None:
    folder = shutil.copytree(build, tmp_path / "build")
    path = folder / artifact.MANIFEST
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 64'))
    with (
        pytest.warns(UserWarning, match=f"pool of the RPC server at {address} has .* 64 were asked for"),
        RemoteNetwork(folder, address) as network,
    ):
        np.testing.assert_array_equal(network.run(x)[0], tvm_dwfuse.load(build).run(x)[0])


def test_bad_inputs_are_refused_before_they_are_sent(build: Path, address: str, x: np.ndarray) -> None:
    with RemoteNetwork(build, address) as network:
        with pytest.raises(DwfuseError, match=r"shape \[1, 8, 10, 12\] given"):
            network.run(x.transpose(0, 1, 3, 2))
        with pytest.raises(DwfuseError, match="no such input"):
            network.time({"z": x})


@pytest.mark.parametrize(
    "text", ["board", "board:", ":9090", "board:ninety", "board:0", "board:65536", "board:-1", "", "board:٣"]
)
def test_malformed_address(text: str, build: Path, tmp_path: Path) -> None:
    message = fail("run", build, "--input", "x.npy", "--output", tmp_path / "y.npy", "--rpc", text)
    assert message.startswith(f"error: --rpc {text}: expected HOST:PORT".replace("  ", " "))


@pytest.mark.parametrize(
    ("text", "address"),
    [("board:9090", ("board", 9090)), ("10.0.0.7:1", ("10.0.0.7", 1)), ("[fe80::1]:65535", ("fe80::1", 65535))],
)
def test_address(text: str, address: tuple[str, int]) -> None:
    assert rpc.parse_address(text) == address


def test_nobody_listens(build: Path, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        message = fail("run", build, "--input", "x.npy", "--output", tmp_path / "y.npy", "--rpc", address)
    assert message.startswith(f"error: no TVM RPC server at {address} (")
    assert "python -m tvm.exec.rpc_server --port" in message


@pytest.mark.usefixtures("hurried")
def test_something_else_listens(build: Path) -> None:
    message = r"no TVM RPC server at .* \(no answer within 0\.3 s"
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DwfuseError, match=message):
        RemoteNetwork(build, f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.usefixtures("hurried")
def test_server_is_busy_until_the_session_is_closed(build: Path, address: str, x: np.ndarray) -> None:
    with RemoteNetwork(build, address) as network:
        network.run(x)
        with pytest.raises(DwfuseError, match="may be busy with another session"):
            RemoteNetwork(build, address)
    rpc.CONNECT_LIMIT_S = 10
    RemoteNetwork(build, address).close()


def test_server_of_another_architecture(foreign: Path, address: str) -> None:
    message = f"{foreign}: compiled for riscv64, the machine at {address} is {platform.machine()}"
    with pytest.raises(DwfuseError, match=message):
        RemoteNetwork(foreign, address)


def test_server_that_cannot_load_the_library(foreign: Path, address: str) -> None:
    (foreign / artifact.LIBRARY).write_bytes(b"not a library")
    manifest = artifact.read(foreign)
    path = foreign / artifact.MANIFEST
    path.write_text(path.read_text().replace('"arch": "riscv64"', f'"arch": "{platform.machine()}"'))
    with pytest.raises(DwfuseError, match=rf"at {address} cannot load the network: .* needs TVM {manifest.tvm} and"):
        RemoteNetwork(foreign, address)


def test_server_without_llvm_is_trusted_with_the_architecture(
    foreign: Path, address: str, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect: Callable[..., object] = rpc._connect

    def without_llvm(address: str) -> object:
        session = connect(address)
        functions = session.get_function

        def get_function(name: str) -> object:
            if name.startswith("target.llvm"):
                raise AttributeError(f"Module has no function '{name}'")
            return functions(name)

        session.get_function = get_function
        return session

    monkeypatch.setattr(rpc, "_connect", without_llvm)
    with RemoteNetwork(foreign, address) as network:
        assert network.run(x)[0].shape == (1, 12, 12, 10)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Check failed: (code == RPCCode::kReturn) is false: code=1", "it closed the connection"),
        ("Socket SendAll Error:Connection reset by peer", "it closed the connection"),
        ("Error caught from RPC call:\nCheck failed: (handle) is false: no such file", "no such file"),
        ("", "RuntimeError"),
    ],
)
def test_reasons_are_in_words(text: str, reason: str) -> None:
    assert rpc.reason_of(RuntimeError(text)) == reason


def test_server_that_goes_away(build: Path, x: np.ndarray) -> None:
    server = start_server()
    network = RemoteNetwork(build, f"127.0.0.1:{server.port}")
    server.terminate()
    with pytest.raises(DwfuseError, match=f"RPC server at {network.address} failed: .*; it needs TVM"):
        network.run(x)
    network.close()
