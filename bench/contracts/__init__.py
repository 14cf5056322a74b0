"""The interfaces between plug-ins and the application: protocols, base classes and small shared types.

A compressor turns a teacher upstream into smaller upstreams. A task scores an upstream. Corpora provide the audio
for both. Importing this package does not import torch.
"""

from bench.contracts.compressor import ComparableTraining, Compressor, target_sparsity
from bench.contracts.context import Context, FeatureProtocol, WarmStart
from bench.contracts.data import AudioSource, Corpora, Data
from bench.contracts.settings import LARGEST_NUMBER, Settings
from bench.contracts.task import (
    DeclaresSuperbStandard,
    Evaluation,
    FingerprintsData,
    KeepsFeatures,
    Metric,
    SplitSize,
    SuperbStandard,
    Task,
)
from bench.contracts.task_loss import OffersTaskLoss, TaskLoss, Utterance
from bench.contracts.upstream import Upstream
from bench.contracts.work import CountsHead, EstimatesWork, EvaluationWork, MeasuresData, TrainingWork

__all__ = [
    "LARGEST_NUMBER",
    "AudioSource",
    "ComparableTraining",
    "Compressor",
    "Context",
    "Corpora",
    "CountsHead",
    "Data",
    "DeclaresSuperbStandard",
    "EstimatesWork",
    "Evaluation",
    "EvaluationWork",
    "FeatureProtocol",
    "FingerprintsData",
    "KeepsFeatures",
    "MeasuresData",
    "Metric",
    "OffersTaskLoss",
    "Settings",
    "SplitSize",
    "SuperbStandard",
    "Task",
    "TaskLoss",
    "TrainingWork",
    "Upstream",
    "Utterance",
    "WarmStart",
    "target_sparsity",
]
