"""The C of a network around its layer functions: addresses, calls and L3 transfers in the order of the memory plan."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..groups import Group, GroupedNetwork
from ..targets.gap8 import ClusterTarget
from .constants import c_declaration, c_definition, packed_constants
from .memory_plan import Invocation, L3Wait, MemoryPlan, Operand, Piece, Region, Step
from .printer import HEADERS, CFunction

_WIDTH = 118

_CALL = """\
/* What a call of a layer function works on: places in the L2 arena, and which part of the layer. */
typedef struct {
  uint32_t x[2], y;
  uint32_t constants;     /* of the channels below: weights and requantization stage by stage */
  int32_t begin, end;     /* rows of the output; elements of a sum, channels of a mean */
  int16_t x_row0, y_row0; /* the rows at which x and y start */
  int16_t block_begin, block_end, channels; /* blocks of output channels, and how many channels they are */
} call_t;

static uint8_t *l2;

static void run(void (*task)(int core, void *args), const call_t *call) { dwfuse_cluster_run(task, (void *)call); }
"""

_RUN = """\
int dwfuse_network_run(const uint8_t *input, uint8_t *output) {{
  l2 = dwfuse_l2();
  if (input != l2 + {input}) memmove(l2 + {input}, input, {input_bytes});
{body}
  if (output != l2 + {output}) memcpy(output, l2 + {output}, {output_bytes});
  return 0;
}}
"""


@dataclass(frozen=True, eq=False)
class NetworkCode:
    """Everything that the text of a network is made of.

    Args:
        grouped: the network.
        memory: its plan.
        functions: the printed function of each group by name.
        target: the cluster.
    """

    grouped: GroupedNetwork
    memory: MemoryPlan
    functions: Mapping[str, CFunction]
    target: ClusterTarget

    # --- network.h ------------------------------------------------------------------------------------------------

    def header(self) -> str:
        """``network.h``: sizes, the layer functions, and constants that are C arrays."""
        network = self.grouped.network
        image, result = (self.grouped.activation(names[0]) for names in (network.inputs, network.outputs))
        lines = [
            f"/* {network.name}: its layer functions. dwfuse_network_run (dwfuse_runtime.h) calls them. */",
            "#ifndef NETWORK_H",
            "#define NETWORK_H",
            "",
            "#include <stdint.h>",
            "",
            f"#define NETWORK_INPUT_BYTES {image.bytes} /* {image.height} x {image.width} x {image.channels}, HWC */",
            f"#define NETWORK_OUTPUT_BYTES {result.bytes} /* {result.height} x {result.width} x {result.channels} */",
            f"#define NETWORK_L1_BYTES {self.l1_bytes}",
            f"#define NETWORK_L2_BYTES {self.memory.l2_bytes}",
            "",
            *(f"{function.prototype};" for function in self.functions.values()),
        ]
        if self._resident:
            lines.append("")
            for group in self.grouped.groups:
                for name, array in packed_constants(group).items():
                    lines.append(f"extern {c_declaration(f'{group.name}_{name}', array)};")
        return "\n".join([*lines, "", "#endif", ""])

    @property
    def l1_bytes(self) -> int:
        """Size of the L1 arena."""
        return max((function.l1_bytes for function in self.functions.values()), default=0)

    # --- layers and constants -------------------------------------------------------------------------------------

    def layer(self, group: Group) -> str:
        """The file of one group's function."""
        return f"{_includes(('network.h', *HEADERS))}\n{self.functions[group.name].text}"

    def constants(self) -> str:
        """``constants.c``: the C arrays of a network that keeps its constants in L2; empty for others."""
        if not self._resident:
            return ""
        parts = [_includes(("network.h",))]
        for group in self.grouped.groups:
            parts += [c_definition(f"{group.name}_{name}", array) for name, array in packed_constants(group).items()]
        return "\n".join(parts)

    # --- network.c ------------------------------------------------------------------------------------------------

    def source(self) -> str:
        """``network.c``."""
        parts = [
            f"/* {self.grouped.network.name}: what the fabric controller calls, layer by layer. */",
            _includes(("network.h", "dwfuse_runtime.h"), system=("string.h",)),
            *self._addresses(),
            self._description(),
            _CALL,
            *(self._group(group) for group in self.grouped.groups),
            self._run(),
        ]
        return "\n\n".join(part.strip("\n") for part in parts) + "\n"

    @property
    def _resident(self) -> bool:
        return self.memory.mode == "resident"

    @cached_property
    def _names(self) -> dict[str, str]:
        """C names of the regions of L2, and of pieces and activations in L3, by "l2 <name>" or "l3 <name>"."""
        names: dict[str, str] = {}
        regions = [f"l2 {region.name}" for region in self._regions]
        for key in [*regions, *(f"l3 {name}" for name, _ in self._l3_addresses)]:
            wanted = re.sub(r"\W+", "_", key).upper()
            name, number = wanted, 1
            while name in names.values():
                number += 1
                name = f"{wanted}_{number}"
            names[key] = name
        return names

    @property
    def _regions(self) -> list[Region]:
        return sorted(self.memory.regions, key=lambda region: (region.first, region.address))

    @property
    def _l3_addresses(self) -> list[tuple[str, int]]:
        pieces = [(piece.name, piece.offset) for piece in self.memory.pieces] if not self._resident else []
        return [*pieces, *((region.name, region.address) for region in self.memory.spilled)]

    def _addresses(self) -> Iterator[str]:
        yield _enumeration(
            "Addresses in the L2 arena; what shares bytes is never in use at the same time.",
            ((self._names[f"l2 {region.name}"], region.address, f"{region.bytes} bytes") for region in self._regions),
        )
        if self._l3_addresses:
            entries = ((self._names[f"l3 {name}"], at, "") for name, at in self._l3_addresses)
            yield _enumeration("Addresses in L3.", entries)

    def _description(self) -> str:
        network = self.grouped.network
        fields = {
            "name": f'"{_c_string(network.name)}"',
            "cores": self.target.cores,
            "l1_bytes": "NETWORK_L1_BYTES",
            "l2_bytes": "NETWORK_L2_BYTES",
            "input_bytes": "NETWORK_INPUT_BYTES",
            "input_offset": self._names[f"l2 {network.inputs[0]}"],
            "output_bytes": "NETWORK_OUTPUT_BYTES",
            "output_offset": self._names[f"l2 {network.outputs[0]}"],
            "weights_bytes": self.memory.weights_bytes,
            "l3_bytes": self.memory.l3_bytes,
        }
        lines = [f"    .{name} = {value}," for name, value in fields.items()]
        return "\n".join(["const dwfuse_network_t dwfuse_network = {", *lines, "};", ""])

    def _run(self) -> str:
        network = self.grouped.network
        body = [f"  run_{group.name}();" for group in self.grouped.groups]
        body += [f"  {line}" for line in self._steps(self.memory.after)]
        return _RUN.format(
            input=self._names[f"l2 {network.inputs[0]}"],
            input_bytes="NETWORK_INPUT_BYTES",
            output=self._names[f"l2 {network.outputs[0]}"],
            output_bytes="NETWORK_OUTPUT_BYTES",
            body="\n".join(body),
        )

    # --- one group ------------------------------------------------------------------------------------------------

    def _group(self, group: Group) -> str:
        title = "+".join(layer.name for layer in group.layers)
        calls = self.memory.calls(group.name)
        lines = [f"/* {title.replace('*/', '* /')}: {self._shape(group)} */", *self._task(group)]
        lines += [f"static const call_t {group.name}_calls[] = {{"]
        lines += [line for call in calls for line in self._call(group, call)]
        lines += ["};", ""]
        lines += [f"static void run_{group.name}(void) {{", f'  dwfuse_layer_begin("{_c_string(title)}");']
        for number, call in enumerate(calls):
            lines += self._steps(call.before)
            lines.append(f"  run({group.name}_task, &{group.name}_calls[{number}]);")
            lines += self._check(group, call)
            lines += self._steps(call.after)
        return "\n".join([*lines, "  dwfuse_layer_end();", "}", ""])

    def _shape(self, group: Group) -> str:
        sizes = []
        for name in (group.inputs[0], group.output):
            a = self.grouped.activation(name)
            sizes.append(f"{a.height}x{a.width}x{a.channels} {self.grouped.layouts[name]}")
        return f"{group.variant}, {' -> '.join(sizes)}"

    def _task(self, group: Group) -> list[str]:
        """The function that each core runs, from the arguments of a call."""
        function = self.functions[group.name]
        arrays = [parameter.name for parameter in function.parameters if parameter.name[0] in "wq"]
        known = {
            "x": "l2 + call->x[0]", "a": "l2 + call->x[0]", "b": "l2 + call->x[1]", "y": "l2 + call->y",
            "row_begin": "call->begin", "row_end": "call->end", "begin": "call->begin", "end": "call->end",
            "x_row0": "call->x_row0", "y_row0": "call->y_row0",
            "block_begin": "call->block_begin", "block_end": "call->block_end",
        }  # fmt: skip
        known |= {name: self._constant(group, name) for name in arrays}
        arguments = ["core", "dwfuse_l1()", *(known[parameter.name] for parameter in function.parameters)]
        return [
            f"static void {group.name}_task(int core, void *args) {{",
            "  const call_t *call = args;",
            *_filled(f"  {group.name}(", arguments, ");"),
            "}",
            "",
        ]

    def _call(self, group: Group, call: Invocation) -> list[str]:
        """The entry of a call in the table of the group's."""
        fields = [f".x = {{{', '.join(self._place(operand) for operand in call.inputs)}}}"]
        fields.append(f".y = {self._place(call.output)}")
        if call.constants_region:
            fields.append(f".constants = {self._names[f'l2 {call.constants_region}']}")
        fields.append(f".begin = {call.begin}, .end = {call.end}")
        if call.inputs[0].row0 or call.output.row0:
            fields.append(f".x_row0 = {call.inputs[0].row0}, .y_row0 = {call.output.row0}")
        if call.piece:
            fields.append(f".block_begin = {call.blocks[0]}, .block_end = {call.blocks[1]}")
            if len(self._pieces(group)) > 1:
                fields.append(f".channels = {self.memory.piece(call.piece).channels}")
        return _filled("  {", fields, "},")

    def _check(self, group: Group, call: Invocation) -> list[str]:
        """The comparison with golden values of what a call has completed."""
        if not call.completes:
            return []
        region, written = self.memory.region(call.output.region), call.output
        offset = written.lo if region.kind == "activation" else written.offset
        at = _plus(f"l2 + {self._names[f'l2 {region.name}']}", offset)
        return [f'  dwfuse_check("{group.name}", {at}, {written.lo}, {written.hi - written.lo});']

    def _place(self, operand: Operand) -> str:
        return _plus(self._names[f"l2 {operand.region}"], operand.offset)

    def _pieces(self, group: Group) -> list[Piece]:
        return [piece for piece in self.memory.pieces if piece.group == group.name]

    def _constant(self, group: Group, name: str) -> str:
        """The argument for an array of constants."""
        if self._resident:
            return f"{group.name}_{name}"
        ctype = "const int32_t *" if name.startswith("q") else "const int8_t *"
        pieces = self._pieces(group)
        array = next(array for array in pieces[0].arrays if array.name == name)
        if array.offset == 0:
            return f"({ctype})(l2 + call->constants)"
        if len(pieces) == 1:
            return f"({ctype})(l2 + call->constants + {array.offset})"
        # All arrays of a chain that is cut in blocks have a row for each channel of the piece.
        return f"({ctype})(l2 + call->constants + {array.offset // pieces[0].channels} * call->channels)"

    def _steps(self, steps: Sequence[Step]) -> list[str]:
        lines = []
        for step in steps:
            if isinstance(step, L3Wait):
                lines.append(f"  dwfuse_l3_wait({step.slot});")
                continue
            place = _plus(self._names[f"l3 {step.owner}"], step.l3 - dict(self._l3_addresses)[step.owner])
            l2 = f"l2 + {self._names[f'l2 {step.region}']}"
            lines.append(f"  dwfuse_l3_{step.kind}({step.slot}, {l2}, {place}, {step.bytes});")
        return lines


def _includes(own: Iterable[str], system: Iterable[str] = ()) -> str:
    lines = [f"#include <{name}>" for name in system]
    lines += [""] if lines else []
    return "\n".join([*lines, *(f'#include "{name}"' for name in own), ""])


def _enumeration(title: str, entries: Iterable[tuple[str, int, str]]) -> str:
    lines = [f"/* {title} */", "enum {"]
    lines += [f"  {name} = {value}," + (f" /* {comment} */" if comment else "") for name, value, comment in entries]
    return "\n".join([*lines, "};"])


def _plus(base: str, offset: int) -> str:
    return f"{base} + {offset}" if offset else base


def _c_string(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _filled(head: str, items: Sequence[str], tail: str) -> list[str]:
    """``head``, items with commas, ``tail``, in lines of limited length."""
    lines, line = [], head
    for index, item in enumerate(items):
        piece = item + (tail if index == len(items) - 1 else ",")
        if line != head and len(line) + len(piece) >= _WIDTH:
            lines.append(line)
            line = "      " + piece
        else:
            line += piece if line == head else f" {piece}"
    return [*lines, line]
