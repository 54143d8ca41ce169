"""Clusters of small RISC-V cores over scratchpad memories: GAP8 and its relatives, as tiler and code see them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ClusterTarget:
    """A fabric controller with L2, and a cluster of cores that share L1 and a DMA engine.

    ``l1_bytes`` is the L1 left for data: the stacks of the cores and the runtime's own data are subtracted from the
    memory's size. ``l2_bytes`` is the L2 left for a network: after the runtime, the kernels and what they allocate.
    The network's code takes ``layer_code_bytes`` of that for each layer and ``call_code_bytes`` for each call. DMA
    figures are cycles of the cluster, measured on GVSOC: ``dma_bytes_per_cycle`` is half of what a lone
    transfer reaches, as they come in twos and threes; ``dma_start`` is to enqueue one, ``dma_latency`` from start to
    end of an empty one, ``dma_line`` for each line of a 2-D one out of L1 besides its words, ``dma_interference`` the
    part of their time that transfers beside kernels cost these.
    ``l3_bytes_per_cycle`` and ``l3_latency`` are in cluster cycles too, with the controller's clock as at reset.

    Energy is a model, not a measurement: ``cycle_energy`` for each cycle of the cluster, waiting or not, all that
    kernels do in L1 included; ``l1_l2_energy`` and ``l2_l3_energy`` for each byte that moves; all in picojoules. It is
    made of public figures of different origin, and good to compare plans of one network, not to size a battery.
    """

    name: str
    cores: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    layer_code_bytes: int = 0
    call_code_bytes: int = 0
    dma_bytes_per_cycle: float = 4.0
    dma_start: int = 40
    dma_latency: int = 60
    dma_line: float = 1.0
    dma_interference: float = 0.3
    dma_max_bytes: int = 65535
    l3_bytes_per_cycle: float = 0.78
    l3_latency: int = 650
    barrier: int = 13
    fork: int = 74
    cycle_energy: float = 0.0
    l1_l2_energy: float = 0.0
    l2_l3_energy: float = 0.0

    def energy(self, cycles: float, l1_l2_bytes: float, l2_l3_bytes: float = 0) -> int:
        """Picojoules of a run of so many cycles that moves so many bytes between the memories, by the model."""
        moved = l1_l2_bytes * self.l1_l2_energy + l2_l3_bytes * self.l2_l3_energy
        return round(cycles * self.cycle_energy + moved)

    def without_code(self, layers: int, calls: int) -> ClusterTarget:
        """The same with the L2 that is left for data of a network of so many layers, computed by so many calls."""
        code = layers * self.layer_code_bytes + calls * self.call_code_bytes
        return replace(self, l2_bytes=self.l2_bytes - code, layer_code_bytes=0, call_code_bytes=0)


#: GAP8 (GreenWaves): 64 KB L1 with 16 banks, 512 KB L2, 8 MB HyperRAM.
GAP8 = ClusterTarget(
    name="gap8",
    cores=8,
    l1_bytes=54 * 1024,
    # Runtime, SDK and kernels take 56 KB, their allocations up to 12 KB; code sizes are those of -O3 on the zoo.
    l2_bytes=444 * 1024,
    layer_code_bytes=900,
    call_code_bytes=150,
    l3_bytes=8 * 1024 * 1024,
    # At most 75 mW at 90 MHz and 1.0 V (Flamand et al. 2018, "GAP-8: A RISC-V SoC for AI at the Edge of the IoT").
    cycle_energy=833.0,
    # 64 bits of a 1 MB SRAM take 100 pJ, of a 32 KB one 20 pJ, at 45 nm (Horowitz 2014, "Computing's Energy Problem",
    # ISSCC): one access to each for 8 bytes. GAP8's L2 is smaller and its process, 55 nm, is coarser.
    l1_l2_energy=(100 + 20) / 8,
    # HyperRAM S27KS0641: at most 60 mA at 1.8 V for 333 MB/s (Cypress 001-97964); and an access to L2.
    l2_l3_energy=60e-3 * 1.8 / 333e6 * 1e12 + 100 / 8,
)

#: PULP open (pulp-platform): the same cluster with 64 KB L1 and 512 KB L2, without flash; HyperRAM as on its board.
PULP_OPEN = replace(GAP8, name="pulp-open")

CLUSTER_TARGETS = {target.name: target for target in (GAP8, PULP_OPEN)}
