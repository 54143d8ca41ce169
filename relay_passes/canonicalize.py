"""The passes that bring an imported network into the forms that the patterns know, in their order."""

from __future__ import annotations

import tvm
from tvm import relax

from .canonicalize_activations import CanonicalizeActivations
from .canonicalize_pooling import CanonicalizePooling
from .fold_batch_norm import FoldBatchNorm
from .fold_constant_arithmetic import FoldConstantArithmetic
from .fold_pad import FoldPadIntoConv
from .raise_call_tir import RaiseCallTir
from .simplify_inference import SimplifyInference
from .to_channels_last import ToChannelsLast


def canonicalize_passes() -> list[tvm.ir.transform.Pass]:
    """The passes from an imported module to a channels-last one in canonical form.

    After them a convolution is NHWC with an OHWI weight, its bias an addition of shape (1, 1, 1, C), and there is no
    batch norm, padding operator in front of a convolution, dropout, or ``call_tir`` of a clip or pad.
    """
    return [
        # 1. Everything that does not depend on the input is a constant, everything known is an operator.
        FoldConstantArithmetic(),
        relax.transform.FoldConstant(),
        RaiseCallTir(),
        SimplifyInference(),
        # 2. One spelling for each activation and pooling, before scalars could be folded away.
        CanonicalizeActivations(),
        CanonicalizePooling(),
        # 3. Convolutions take in what belongs to them.
        FoldPadIntoConv(),
        FoldBatchNorm(),
        # 4. One layout throughout.
        ToChannelsLast(),
        # 5. What the phases above left behind.
        SimplifyInference(),
        relax.transform.DeadCodeElimination(),
    ]
