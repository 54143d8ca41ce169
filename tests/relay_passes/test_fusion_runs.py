from __future__ import annotations

from tvm import relax

from relay_passes.fusion_runs import FusionRun, find_runs, other_memory
from tests.relay_passes.networks import Net

ONE = 4 * 4 * 8 * 8


def runs_of(body, layout: str = "NHWC", channels: int = 4) -> list[FusionRun]:
    return find_runs("main", Net(layout).build((1, channels, 8, 8), body)["main"])


def names(run: FusionRun) -> set[tuple[str, int, int]]:
    return {(each.name, each.first, each.last) for each in run.candidates}


def test_every_stage_alone_and_every_block_in_every_variant() -> None:
    (run,) = runs_of(lambda net, x: net.pw(net.dw(net.relu(net.pw(x, 8))), 4))
    assert run.convs == ("lv", "lv2", "lv3")
    assert names(run) == {
        ("pw", 0, 1),
        ("dw", 1, 2),
        ("pw", 2, 3),
        ("dwpw_hwc_hwc_hwc_rows", 1, 3),
        ("pwdw_hwc_chw_hwc_channels", 0, 2),
        ("pwdw_hwc_hwc_hwc_channels", 0, 2),
        ("pwdw_hwc_chw_hwc_rows", 0, 2),
        ("pwdw_hwc_hwc_hwc_rows", 0, 2),
        ("pwdwpw_hwc_hwc_hwc_rows", 0, 3),
    }
    for each in run.candidates:
        assert each.match.variant == (each.variant.name if each.variant else None)


def test_a_second_reader_ends_a_run() -> None:
    def body(net, x):
        mid = net.dw(x)
        return net.add(net.pw(mid, 4), mid)

    first, second = runs_of(body)
    assert (first.convs, second.convs) == (("lv",), ("lv1",))


def test_a_run_may_be_longer_than_any_block() -> None:
    (run,) = runs_of(lambda net, x: net.pw(net.dw(net.pw(net.dw(x), 8)), 8))
    assert len(run.convs) == 4
    assert {(0, 2), (1, 3), (2, 4), (1, 4)} == {(each.first, each.last) for each in run.candidates if each.variant}


def test_blocks_in_nchw_have_their_variants_and_no_others() -> None:
    (run,) = runs_of(lambda net, x: net.pw(net.dw(net.pw(x, 8)), 4), "NCHW")
    assert run.layout == "NCHW"
    assert {each.name for each in run.candidates if each.variant} == {
        "dwpw_chw_hwc_chw_rows",
        "pwdw_chw_chw_chw_channels",
    }


def test_the_stem_reads_what_the_network_is_given() -> None:
    def body(net, x):
        turned = net.emit(relax.op.permute_dims(x, (0, 2, 3, 1)))
        net.layout = "NHWC"
        return net.conv(turned, 8, 3)

    (run,) = runs_of(body, "NCHW", channels=3)
    (stem,) = run.candidates
    assert stem.source == "NCHW"


def test_a_dense_layer_is_priced_as_the_kernel_that_is_built() -> None:
    def body(net, x):
        rows = net.emit(relax.op.reshape(x, (4, 64)))
        return net.emit(relax.op.matmul(rows, net.constant(64, 10)))

    (run,) = runs_of(body)
    (dense,) = run.candidates
    assert (dense.block.batch, dense.block.height, dense.block.width) == (1, 1, 4)


def test_memory_is_what_is_alive_beside_a_kernel() -> None:
    def body(net, x):
        return net.add(net.pw(net.dw(net.pw(x, 8)), 4), x)

    (run,) = runs_of(body)
    memory = {(each.name, each.first): each.memory for each in run.candidates}
    assert memory["pw", 0] == ONE + 2 * ONE  # the input is the residual too
    assert memory["dw", 1] == ONE + 4 * ONE
    assert memory["pw", 2] == ONE + 2 * ONE + ONE
    assert memory["pwdwpw_hwc_hwc_hwc_rows", 0] == 2 * ONE


def test_a_block_behind_squeeze_and_excite_leaves_the_multiply_to_another_kernel() -> None:
    (run,) = [run for run in runs_of(lambda net, x: net.dw(net.pw(net.squeeze_excite(x), 8))) if len(run.convs) > 1]
    assert {each.scales_apart for each in run.candidates if each.variant} == {True}
    alone = next(each for each in run.candidates if each.name == "pw")
    assert alone.block.prologue == ("scale",)
    assert not alone.scales_apart


def test_memory_of_what_is_no_kernel() -> None:
    func = Net("NHWC").build((1, 4, 8, 8), lambda net, x: net.pw(net.silu(net.silu(x)), 64))["main"]
    assert other_memory(func, find_runs("main", func)) == 2 * ONE
