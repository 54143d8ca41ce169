"""The C text of a grouped network as a function of TVM's calling convention."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from schedules.cluster import build_group

from ..groups import Group, GroupedNetwork
from ..targets import ClusterTarget
from ..tiling.chain import Chain
from .constants import c_definition, packed_constants
from .memory_calls import extent
from .printer import HEADERS, CFunction, print_function

#: The C of every module: reads a tensor that TVM passes, by the stable C interface of tvm-ffi.
_PROLOGUE = """\
#include <string.h>
#include <dlpack/dlpack.h>
#include <tvm/ffi/c_api.h>

static uint8_t *tensor_data(const TVMFFIAny *argument) {
  const char *at = (const char *)argument->v_ptr;
  if (argument->type_index == kTVMFFITensor) at += sizeof(TVMFFIObject);
  else if (argument->type_index != kTVMFFIDLTensorPtr) return 0;
  const DLTensor *tensor = (const DLTensor *)at;
  return (uint8_t *)tensor->data + tensor->byte_offset;
}
"""

_ENTRY = """\
__attribute__((visibility("default"))) int __tvm_ffi_{name}(void *self, const TVMFFIAny *args, int32_t count,
                                                           TVMFFIAny *result) {{
  (void)self, (void)result;
  if (count != {count}) {{
    TVMFFIErrorSetRaisedFromCStr("TypeError", "{name} takes {count} tensors: inputs, then outputs");
    return -1;
  }}
  for (int i = 0; i < count; i++) {{
    if (tensor_data(&args[i])) continue;
    TVMFFIErrorSetRaisedFromCStr("TypeError", "{name} takes tensors only");
    return -1;
  }}
{places}
  if (dwfuse_vm_run({l1_bytes}, {name}_run, at)) {{
    TVMFFIErrorSetRaisedFromCStr("RuntimeError", "{name} stopped; the layer and the reason were printed");
    return -1;
  }}
{copies}  return 0;
}}
"""


def region_source(grouped: GroupedNetwork, target: ClusterTarget) -> str:
    """One C file with everything but kernels and runtime; it exports ``__tvm_ffi_<name of the network>``.

    The function takes the inputs, then the outputs, all of them uint8 in HWC. It is not for several threads at once.

    Args:
        grouped: the network; its groups are for the cores of ``target``.
        target: the cluster.
    """
    prefix = grouped.network.name
    groups = [replace(group, name=f"{prefix}_{group.name}") for group in grouped.groups]
    printed = [print_function(build_group(group), target) for group in groups]
    places = {name: at for at, name in enumerate(grouped.network.activations)}
    headers = "".join(f'#include "{name}"\n' for name in (*HEADERS, "dwfuse_vm.h"))
    parts = [headers + _PROLOGUE]
    for group, function in zip(groups, printed, strict=True):
        parts += [*_constants(group), function.text, _task(group, function, places)]
    parts += [_run(grouped, groups), _entry(grouped, places, max((f.l1_bytes for f in printed), default=0))]
    return "\n".join(parts)


def _constants(group: Group) -> Iterator[str]:
    """Definitions of the arrays of weights and requantization."""
    for name, array in packed_constants(group).items():
        yield f"static {c_definition(f'{group.name}_{name}', array)}"


def _task(group: Group, function: CFunction, places: Mapping[str, int]) -> str:
    """The function that each core runs: one call of the group for all of its output."""
    tensors = dict(zip(("x",) if len(group.inputs) == 1 else ("a", "b"), group.inputs, strict=True)) | {
        "y": group.output
    }
    scalars = {"row_begin": 0, "row_end": 0, "x_row0": 0, "y_row0": 0, "block_begin": 0, "block_end": 0, "begin": 0}
    scalars["row_end"] = scalars["end"] = extent(group)
    if isinstance(group.plan, Chain):
        scalars["block_end"] = group.plan.blocks if group.plan.can_block else 1

    def argument(name: str) -> str:
        if name in tensors:
            return f"at[{places[tensors[name]]}]"
        return str(scalars[name]) if name in scalars else f"{group.name}_{name}"

    arguments = ", ".join(["core", "dwfuse_l1()", *(argument(parameter.name) for parameter in function.parameters)])
    return (
        f"static void {group.name}_task(int core, void *args) {{\n"
        f"  uint8_t *const *at = args;\n"
        f"  {group.name}({arguments});\n"
        f"}}\n"
    )


def _run(grouped: GroupedNetwork, groups: list[Group]) -> str:
    """The function that computes the groups in order."""
    lines = [f"static void {grouped.network.name}_run(void *at) {{"]
    for group in groups:
        lines.append(f"  dwfuse_layer_begin({json.dumps(group.layers[-1].name)});")
        lines.append(f"  dwfuse_cluster_run({group.name}_task, at);")
        lines.append("  dwfuse_layer_end();")
    return "\n".join([*lines, "}\n"])


def _entry(grouped: GroupedNetwork, places: Mapping[str, int], l1_bytes: int) -> str:
    """The function that the virtual machine calls, and the arrays of the activations in between."""
    network = grouped.network
    outside = [*network.inputs, *network.outputs]
    arrays, pointers, copies = [], [], []
    for name, at in places.items():
        if name in outside:
            pointers.append(f"tensor_data(&args[{outside.index(name)}])")
            continue
        arrays.append(f"static uint8_t {network.name}_activation_{at}[{network.activations[name].bytes}];\n")
        pointers.append(f"{network.name}_activation_{at}")
    for argument, name in enumerate(outside):
        if outside.index(name) != argument:  # an input handed through, or one output returned twice
            size = network.activations[name].bytes
            copies.append(f"  memcpy(tensor_data(&args[{argument}]), at[{places[name]}], {size});\n")
    declared = ",\n".join(f"      {pointer}" for pointer in pointers)
    return "".join(arrays) + _ENTRY.format(
        name=network.name,
        count=len(outside),
        places=f"  uint8_t *at[] = {{\n{declared},\n  }};",
        l1_bytes=l1_bytes,
        copies="".join(copies),
    )
