"""Students that are not pruned: the teacher's first layers, or its depth at a smaller width.

Source: DistilHuBERT (arXiv 2110.01900) for two layers; Ashihara et al., Deep versus Wide (arXiv 2207.06867), for three
layers and for the thin one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Literal

from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import DropoutRates, TransformerLayerShape
from bench.upstream.initialisation import uninitialised
from bench.upstream.random_shapes import random_model
from compressors.settings import ThinStudentConfig
from compressors.size.budget import TOLERANCE, Budget, budget_for

logger = logging.getLogger(__name__)

ExtractorWidth = Literal["teacher", "thin"]

_EXTRACTOR = ("feature_extractor.", "feature_projection.layer_norm.")
"""Prefixes of the names of the extractor's weights."""


def shallow_shape(teacher: UpstreamConfig, num_layers: int, *, projection_layer_norm: bool = True) -> UpstreamConfig:
    """Return the shape of a teacher's first layers.

    Args:
        teacher: shape of the teacher.
        num_layers: number of layers of the student.
        projection_layer_norm: keep the LayerNorm before the feature projection, if the teacher has one.

    Raises:
        UserError: the teacher has fewer layers.
    """
    require_depth(teacher, num_layers)
    has_norm = teacher.projection_layer_norm and projection_layer_norm
    return teacher.model_copy(update={"layers": teacher.layers[:num_layers], "projection_layer_norm": has_norm})


def shallow_student(teacher: UpstreamModel, shape: UpstreamConfig, dropout: DropoutRates) -> UpstreamModel:
    """Return a student of a `shallow_shape` with the teacher's weights, in training mode."""
    student = uninitialised(shape.model_copy(update={"dropout": dropout}))
    weights = teacher.state_dict()
    student.load_state_dict({key: weights[key] for key in student.state_dict()})
    return student.train()


def require_depth(teacher: UpstreamConfig, num_layers: int) -> None:
    """Refuse a teacher with fewer layers than its student.

    Raises:
        UserError: it has fewer.
    """
    if teacher.num_layers < num_layers:
        raise UserError(
            f"Expected a teacher of {num_layers} layers or more for this student. Found {teacher.num_layers}. "
            "Choose another --teacher, or student=deep-thin."
        )


def thin_student(
    teacher: UpstreamModel,
    shape: UpstreamConfig,
    dropout: DropoutRates,
    seed: int,
    *,
    extractor_weights: Literal["teacher", "random"] = "teacher",
) -> UpstreamModel:
    """Return a student of a `thin_shape`, in training mode.

    The extractor has the teacher's weights if it has the teacher's shape. All other weights are random: LayerNorms and
    attention would not survive a choice among the teacher's features.

    Args:
        teacher: the teacher, which is not changed.
        shape: shape of the student.
        dropout: dropout rates of the student.
        seed: seed of the random weights.
        extractor_weights: ``random`` makes the extractor random too.
    """
    layer = shape.layers[0]
    logger.info("the student has %d features, %d heads, %d inside", shape.dim, shape.total_heads, layer.feed_forward)
    student = random_model(shape.model_copy(update={"dropout": dropout}), seed)
    if extractor_weights == "teacher" and shape.conv_layers == teacher.config.conv_layers:
        extractor = {key: value for key, value in teacher.state_dict().items() if key.startswith(_EXTRACTOR)}
        student.load_state_dict(student.state_dict() | extractor)
    return student.train()


def thin_student_shape(teacher: UpstreamConfig, config: ThinStudentConfig) -> UpstreamConfig:
    """Return the `thin_shape` that a configuration asks for.

    Raises:
        UserError: no width meets the budget.
    """
    budget = budget_for(config, teacher)
    automatic: ExtractorWidth = "thin" if budget.counting == "macs" else "teacher"
    return thin_shape(teacher, budget, automatic if config.extractor == "auto" else config.extractor)


def thin_shape(teacher: UpstreamConfig, budget: Budget, extractor: ExtractorWidth) -> UpstreamConfig:
    """Find the shape of the teacher's depth that fills a budget.

    Several widths can meet the budget, each with its feed-forward width. We take the one whose ratio of the two is
    closest to the teacher's. Heads keep the teacher's width if it divides the model's width, else half of it.

    Args:
        teacher: the teacher's shape.
        budget: met from below, within `TOLERANCE`.
        extractor: ``teacher`` keeps the extractor's channels, ``thin`` scales them like the width.

    Raises:
        UserError: no such shape meets the budget; the closest is named.
    """
    ratio = max(sum(layer.feed_forward for layer in teacher.layers) / teacher.num_layers, 1) / teacher.dim
    shapes = list(_thin_shapes(teacher, budget, extractor))
    fitting = [shape for shape in shapes if (1 - TOLERANCE) * budget.wanted <= budget.measure(shape) <= budget.wanted]
    if not fitting:
        closest = min((budget.measure(shape) for shape in shapes), key=lambda size: abs(size - budget.wanted))
        hint = ", or set extractor=thin" if extractor == "teacher" else ""
        raise UserError(
            f"Expected a budget that a deep and thin student meets within {TOLERANCE:.0%}; the closest to it has "
            f"{closest} {budget.quantity}. Found a budget of {budget.wanted}. Choose another{hint}."
        )
    return min(fitting, key=lambda shape: abs(math.log(shape.layers[0].feed_forward / shape.dim / ratio)))


def _thin_shapes(teacher: UpstreamConfig, budget: Budget, extractor: ExtractorWidth) -> Iterator[UpstreamConfig]:
    """Yield one shape per width: the largest within the budget, or else the smallest."""
    for dim in range(teacher.positional_groups, teacher.dim + 1, teacher.positional_groups):
        head_dims = [width for width in (teacher.head_dim, teacher.head_dim // 2) if width and dim % width == 0]
        if head_dims:
            smallest, next_smallest = (_thin_shape(teacher, dim, head_dims[0], units, extractor) for units in (0, 1))
            size = budget.measure(smallest)
            units = (budget.wanted - size) // (budget.measure(next_smallest) - size)
            yield _thin_shape(teacher, dim, head_dims[0], max(units, 0), extractor)


def _thin_shape(
    teacher: UpstreamConfig, dim: int, head_dim: int, units: int, extractor: ExtractorWidth
) -> UpstreamConfig:
    """Return a shape with ``units`` feed-forward units in all, in addition to the one that every block has."""
    conv_layers = teacher.conv_layers
    if extractor == "thin":
        conv_layers = tuple(
            layer.model_copy(update={"channels": max(round(layer.channels * dim / teacher.dim), 1)})
            for layer in conv_layers
        )
    heads = tuple(range(dim // head_dim))
    width, wider_layers = divmod(units, teacher.num_layers)
    layers = tuple(
        TransformerLayerShape(heads=heads, feed_forward=1 + width + (index < wider_layers))
        for index in range(teacher.num_layers)
    )
    changes = {"dim": dim, "total_heads": len(heads), "head_dim": head_dim}
    return teacher.model_copy(update={**changes, "conv_layers": conv_layers, "layers": layers})
