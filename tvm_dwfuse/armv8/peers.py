"""What other libraries execute, as it was measured once: ``peers.csv`` and ``peer_networks.csv`` say how."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources


@cache
def peer_layers() -> dict[tuple[str, str, str], float]:
    """Instructions for each multiply-accumulate by (pass, layer, engine)."""
    rows = _read("peers.csv")
    return {(row["pass"], row["layer"], row["engine"]): float(row["instructions_per_mac"]) for row in rows}


@cache
def peer_networks() -> dict[tuple[str, str], float]:
    """Millions of instructions for one inference by (network, engine)."""
    rows = _read("peer_networks.csv")
    return {(row["network"], row["engine"]): float(row["million_instructions"]) for row in rows}


def layers_of(procedure: str) -> list[str]:
    """The layers that some library was measured on, in the table's order; ``procedure`` may be ``pointwise``."""
    return list(dict.fromkeys(layer for at, layer, _ in peer_layers() if at == procedure))


def _read(name: str) -> list[dict[str, str]]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
