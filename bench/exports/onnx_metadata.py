"""What an ONNX file says about itself, under the keys that sherpa-onnx's models use where it has some."""

from __future__ import annotations

from pathlib import Path

import bench
from bench.audio.files import SAMPLE_RATE_HZ
from bench.exports.subject import Subject
from bench.upstream import UpstreamConfig, model_name
from bench.upstream.cost import count_parameters, superb_macs
from bench.upstream.onnx_file import SHAPE
from bench.upstream.reference_names import MINI_HUBERT, RANDOM


def metadata_of(config: UpstreamConfig, subject: Subject) -> dict[str, str]:
    """Describe an exported model. All values are text, as ONNX requires."""
    base_model = _base_model(subject)
    return {
        "model_type": config.architecture,
        "model_author": "superb-bench",
        "version": bench.__version__,
        "base_model": base_model,
        "compressor": str(subject.provenance.get("compressor", "none")),
        "license": "apache-2.0" if base_model == MINI_HUBERT or base_model.startswith(RANDOM) else "see base_model",
        "sample_rate": str(SAMPLE_RATE_HZ),
        # Samples are from -1 to 1. The graph itself scales each utterance if the model needs that.
        "normalize_samples": "1",
        "waveform_normalization": "in the graph" if config.normalize_waveform else "none",
        "num_layers": str(config.num_layers),
        "dim": str(config.dim),
        "stride": str(config.stride),
        "window": str(config.window),
        "dtype": "int8" if config.has_int8 else "float32",
        "params": str(count_parameters(config)),
        "macs": str(superb_macs(config).macs),
        SHAPE: config.model_dump_json(),
    }


def _base_model(subject: Subject) -> str:
    provenance = subject.provenance
    name = str(provenance.get("teacher") or provenance.get("converted_from") or subject.reference)
    # Paths of this machine mean nothing to others.
    return model_name(name) if Path(name).expanduser().exists() else name
