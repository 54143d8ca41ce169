"""Where blocks stand in the picture: each once and in order, in rows that are not too long, connections not lost."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tvm_dwfuse.report_page.model import Block, Layer
from tvm_dwfuse.report_page.picture_layout import SPACE, Link, follows, links, rows, width_of

WIDTH = 14.0


def network(counts: list[int], reads: list[list[int]]) -> list[Block]:
    """Blocks of so many layers, each reading what the blocks of those numbers wrote."""
    return [
        Block(f"b{at}", tuple(Layer("l", "pw") for _ in range(count)), "v", tuple(map(str, sources)), str(at), 1.0)
        for at, (count, sources) in enumerate(zip(counts, reads, strict=True))
    ]


def chain(length: int, layers: int = 1) -> list[Block]:
    return network([layers] * length, [[at - 1] if at else [] for at in range(length)])


@st.composite
def networks(draw: st.DrawFn) -> list[Block]:
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=40))
    reads = [draw(st.lists(st.integers(0, at - 1), max_size=3)) if at else [] for at in range(len(counts))]
    return network(counts, reads)


@given(networks())
def test_every_block_and_every_end_of_a_connection_is_there_once(blocks: list[Block]) -> None:
    found = rows(blocks, WIDTH)
    assert [at for row in found for at in range(row.first, row.last)] == list(range(len(blocks)))
    for row in found:
        right = row.lefts[-1] + width_of(blocks[row.last - 1])
        assert right <= WIDTH
        ends = zip(row.lefts, row.lefts[1:], blocks[row.first :], strict=False)
        assert all(abs(left + width_of(block) + SPACE - after) < 1e-9 for left, after, block in ends)
    connections = {link.writer: link for link in links(blocks)}
    lines = [line for row in found for line in row.lines]
    assert sorted(line.writer for line in lines if line.writer is not None) == sorted(connections)
    arrows = sorted((line.link.writer, reader) for line in lines for reader in line.readers)
    assert arrows == sorted((link.writer, reader) for link in connections.values() for reader in link.readers)
    for line in lines:
        if line.writer is not None:
            assert line.readers + line.beyond == line.link.readers


@given(networks())
def test_lines_at_one_height_do_not_meet(blocks: list[Block]) -> None:
    for row in rows(blocks, WIDTH):
        for lane in range(row.lanes):
            spans = sorted(
                (row.first - 1 if line.writer is None else line.writer, row.last if line.beyond else line.readers[-1])
                for line in row.lines
                if line.lane == lane
            )
            assert spans
            assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_neighbours_are_joined_without_a_link() -> None:
    blocks = network([1, 1, 1, 1], [[], [0], [0], [1, 2]])
    assert [follows(blocks, at) for at in range(4)] == [False, True, False, True]
    assert links(blocks) == [Link(0, (2,)), Link(1, (3,))]


def test_readers_of_one_block_share_a_line() -> None:
    blocks = network([1] * 5, [[], [0], [0], [0], [0, 1]])
    (row,) = rows(blocks, WIDTH)
    assert [(line.link, line.lane) for line in row.lines] == [(Link(1, (4,)), 0), (Link(0, (2, 3, 4)), 1)]


def test_a_name_written_twice_is_that_of_the_last_writer() -> None:
    blocks = network([1] * 3, [[], [], []])
    blocks = [blocks[0], Block("b1", blocks[1].layers, "v", (), "0", 1.0), blocks[2]]
    reader = Block("b3", blocks[0].layers, "v", ("0",), "9", 1.0)
    assert links([*blocks, reader]) == [Link(1, (3,))]


def test_rows_are_as_few_as_possible_and_even() -> None:
    assert [row.last - row.first for row in rows(chain(9), WIDTH)] == [9]
    assert len(rows(chain(60), WIDTH)) == 7
    assert len(rows(chain(8, layers=3), WIDTH)) == 2


def test_rows_break_beside_a_connection_and_not_below_it() -> None:
    reads = [[at - 1] if at else [] for at in range(12)]
    reads[10] = [9, 6]
    found = rows(network([1] * 12, reads), WIDTH)
    assert [(row.first, row.last) for row in found] == [(0, 6), (6, 12)]
    assert [row.lanes for row in found] == [0, 1]
