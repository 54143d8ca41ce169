from __future__ import annotations

from tvm_dwfuse.report import markdown_table, text_table


def test_text_table_aligns() -> None:
    assert text_table(("name", "ms"), [("a", "1.0"), ("longer", "12.5")]) == (
        "name      ms\n------  ----\na        1.0\nlonger  12.5"
    )


def test_markdown_table() -> None:
    assert markdown_table(("name", "ms"), [("a", "1")]) == "| name | ms |\n| --- | ---: |\n| a | 1 |"
