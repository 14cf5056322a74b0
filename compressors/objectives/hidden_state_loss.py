"""DPHuBERT's loss between hidden states of the student and the teacher.

Source: DPHuBERT (arXiv 2305.17651) section 3.1, after DistilHuBERT (arXiv 2110.01900) equation 1.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from compressors.settings import DistillationConfig


class DistillationLoss(NamedTuple):
    """The loss and its parts, scalars in fp32."""

    total: Tensor
    l1: Tensor
    l2: Tensor
    cosine: Tensor


def distillation_loss(student: Tensor, teacher: Tensor, config: DistillationConfig) -> DistillationLoss:
    """Compare hidden states. All parts are means over batch, layers and frames; L1 and L2 also over features.

    Args:
        student: projected states (batch, layers, frames, dim).
        teacher: states of the same shape.
        config: the weights, and the form of the cosine part.
    """
    student, teacher = student.float(), teacher.float()
    l1 = F.l1_loss(student, teacher)
    l2 = F.mse_loss(student, teacher)
    similarity = F.cosine_similarity(student, teacher, dim=-1)
    cosine = -(similarity if config.cosine == "raw" else F.logsigmoid(similarity)).mean()
    total = config.l1_weight * l1 + config.l2_weight * l2 + config.cosine_weight * cosine
    return DistillationLoss(total, l1, l2, cosine)
