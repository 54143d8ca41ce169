"""Shape tables: one text file a network, read into typed rows. `tables/README.md` documents every word of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from tvm_dwfuse.errors import DwfuseError

SETTINGS = frozenset(
    {"input", "widths", "resolutions", "listed", "rounding", "activation", "squeeze", "padding", "pooling"}
)
OPTIONS: dict[str, frozenset[str]] = {
    "conv": frozenset({"k", "s", "c", "n", "act", "scale"}),
    "dwpw": frozenset({"k", "s", "c", "n", "act"}),
    "mbconv": frozenset({"k", "s", "c", "n", "act", "e", "mid", "se"}),
    "shuffle": frozenset({"s", "c", "n"}),
    "maxpool": frozenset({"k", "s"}),
    "pool": frozenset(),
    "dense": frozenset({"c", "act"}),
}
DEFAULT_TOLERANCE = 0.03


@dataclass(frozen=True)
class LayerRow:
    """One row of a table: `kind` names the layer, `options` hold its `key=value` words as written."""

    kind: str
    options: dict[str, str]

    def pair(self, key: str) -> tuple[int, int]:
        """Read `3` as (3, 3) and `10x4` as (10, 4), rows before columns; (1, 1) when the row does not say."""
        words = self.options.get(key, "1").split("x")
        return int(words[0]), int(words[-1])

    def number(self, key: str, default: int = 1) -> int:
        """Read an integer option."""
        return int(self.options.get(key, default))


@dataclass(frozen=True)
class Published:
    """Counts that `source` states for one variant ("1.0_224"); the built graph is within `tolerance` (relative)."""

    variant: str
    macs: float
    params: float
    tolerance: float
    source: str


@dataclass
class Table:
    """A network's shape table."""

    family: str
    settings: dict[str, str] = field(default_factory=dict)
    layers: list[LayerRow] = field(default_factory=list)
    published: dict[str, Published] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the network's input at its own resolution."""
        channels, height, width = (int(word) for word in self.settings["input"].split("x"))
        return channels, height, width

    def words(self, key: str) -> list[str]:
        """A setting that lists several words; empty when the table does not have it."""
        return self.settings.get(key, "").split()


def parse(family: str, text: str) -> Table:
    """Parse the text of one table.

    Raises:
        DwfuseError: a line starts with no known setting or layer, or a layer has an option it does not know.
    """
    table = Table(family)
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            _parse_line(table, words)
        except ValueError as error:
            raise DwfuseError(f"zoo table {family}, line {number}: {error} in {line.strip()!r}") from error
    return table


def _parse_line(table: Table, words: list[str]) -> None:
    head, *rest = words
    if head in SETTINGS:
        table.settings[head] = " ".join(rest)
    elif head == "published":
        published = _parse_published(rest)
        table.published[published.variant] = published
    elif head in OPTIONS:
        table.layers.append(LayerRow(head, _parse_options(rest, OPTIONS[head])))
    else:
        raise ValueError(f"unknown word {head!r}")


def _parse_options(words: list[str], known: frozenset[str]) -> dict[str, str]:
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known or not equals or not value:
            raise ValueError(f"unknown option {word!r}")
        options[key] = value
    return options


def _parse_published(words: list[str]) -> Published:
    """Read `VARIANT macs=300M params=3.47M [within=6%] from SOURCE`."""
    if "from" not in words:
        raise ValueError("published counts without their source ('from ...')")
    at = words.index("from")
    options = _parse_options(words[1:at], frozenset({"macs", "params", "within"}))
    within = options.get("within")
    tolerance = float(within.rstrip("%")) / 100 if within else DEFAULT_TOLERANCE
    source = " ".join(words[at + 1 :])
    return Published(words[0], _amount(options["macs"]), _amount(options["params"]), tolerance, source)


def _amount(text: str) -> float:
    """Read `300M`, `3.47M` or `24k` as a number."""
    unit = {"M": 1e6, "k": 1e3}.get(text[-1], 1.0)
    return float(text.rstrip("Mk")) * unit


@cache
def load(family: str) -> Table:
    """Read `tables/<family>.txt`."""
    path = files(__package__).joinpath("tables").joinpath(f"{family}.txt")
    return parse(family, path.read_text(encoding="utf-8"))


@cache
def families() -> tuple[str, ...]:
    """Names of all tables, in alphabetical order."""
    names = (entry.name for entry in files(__package__).joinpath("tables").iterdir())
    return tuple(sorted(name.removesuffix(".txt") for name in names if name.endswith(".txt")))
