"""Relax passes of tvm_dwfuse, one a file; each works alone in a ``tvm.transform.Sequential``."""

from .canonicalize import canonicalize_passes
from .canonicalize_activations import CanonicalizeActivations
from .canonicalize_pooling import CanonicalizePooling
from .choose_fusion import FUSED, UNFUSED, ChooseFusion, FixedRule, FusionPlan, FusionPlanner, PlannedKernel
from .choose_variants import ChooseVariants, prefer_variant, same_layout_first
from .composite import composite_block, composite_kind, composite_operands
from .explain_blocks import BlockReport, explain_blocks
from .fold_batch_norm import FoldBatchNorm
from .fold_constant_arithmetic import FoldConstantArithmetic
from .fold_pad import FoldPadIntoConv
from .fuse_convolutions import FuseConvolutions
from .fuse_separable_blocks import FuseSeparableBlocks
from .integer_patterns import integer_patterns
from .lower_composites import LowerComposites
from .lower_depthwise_training import LowerDepthwiseTraining
from .match_blocks import Match, Resolve, find_blocks, find_convolutions, prefer, program_order
from .match_depthwise import DepthwiseMatch, find_depthwise
from .partition_for_cluster import PartitionForCluster, region_options, regions
from .pointwise_to_matmul import PointwiseToMatmul
from .price_candidates import KernelPrices, Price
from .raise_call_tir import RaiseCallTir
from .schedule_remaining import ScheduleRemaining
from .simplify_inference import SimplifyInference
from .to_channels_last import ToChannelsLast

__all__ = [
    "FUSED",
    "UNFUSED",
    "BlockReport",
    "CanonicalizeActivations",
    "CanonicalizePooling",
    "ChooseFusion",
    "ChooseVariants",
    "DepthwiseMatch",
    "FixedRule",
    "FoldBatchNorm",
    "FoldConstantArithmetic",
    "FoldPadIntoConv",
    "FuseConvolutions",
    "FuseSeparableBlocks",
    "FusionPlan",
    "FusionPlanner",
    "KernelPrices",
    "LowerComposites",
    "LowerDepthwiseTraining",
    "Match",
    "PartitionForCluster",
    "PlannedKernel",
    "PointwiseToMatmul",
    "Price",
    "RaiseCallTir",
    "Resolve",
    "ScheduleRemaining",
    "SimplifyInference",
    "ToChannelsLast",
    "canonicalize_passes",
    "composite_block",
    "composite_kind",
    "composite_operands",
    "explain_blocks",
    "find_blocks",
    "find_convolutions",
    "find_depthwise",
    "integer_patterns",
    "prefer",
    "prefer_variant",
    "program_order",
    "region_options",
    "regions",
    "same_layout_first",
]
