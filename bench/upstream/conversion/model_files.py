"""Single files that hold a model: recognises the format by the content, and reads it."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UserError
from bench.upstream.conversion.dphubert import is_dphubert, read_dphubert
from bench.upstream.conversion.fairseq import is_fairseq, is_s3prl, is_wavlm, read_fairseq, read_s3prl, read_wavlm
from bench.upstream.conversion.files import read_safetensors, read_torch
from bench.upstream.conversion.keys import listed
from bench.upstream.conversion.unreadable import WEIGHTS, is_safetensors, recognised_checkpoint
from bench.upstream.conversion.weights import Checkpoint
from bench.upstream.conversion.weights_alone import is_weights_alone, read_weights_alone

_FORMATS = (
    (is_dphubert, read_dphubert),
    (is_s3prl, read_s3prl),
    (is_wavlm, read_wavlm),
    (is_fairseq, read_fairseq),
)


def read_file(path: Path) -> Checkpoint:
    """Read a model from a file of ``torch.save``, or from a safetensors file.

    Raises:
        UserError: truncated, a pickle with code in it, or another format or architecture.
    """
    if path.name in WEIGHTS and (path.parent / "config.json").exists():
        raise UserError(f"Expected a folder or a checkpoint. {path} is one file of a folder. Name {path.parent}")
    if is_safetensors(path):
        return read_weights_alone(read_safetensors(path), path)
    content = read_torch(path)
    for is_format, read in _FORMATS:
        if is_format(content):
            return read(content, path)
    has_model = isinstance(content.get("model"), dict) and not isinstance(content.get("cfg"), dict)
    alone = content["model"] if has_model else content
    if is_weights_alone(alone):
        return read_weights_alone(alone, path)
    known = recognised_checkpoint(path, content)
    if known is not None:
        raise UserError(f"Expected a model. {path} {known}")
    raise UserError(
        f"Expected a checkpoint of DPHuBERT, s3prl, fairseq or WavLM, or a state dict, in {path}. "
        f"Found {listed([str(key) for key in content]) or 'nothing'}. Save the weights alone, as a state dict."
    )
