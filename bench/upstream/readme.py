"""A model's card: the ``README.md`` next to its weights, with the front matter that Hugging Face's hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.files.yaml import dump_yaml
from bench.sizes import size_text
from bench.text import printable, shortened
from bench.upstream.config import UpstreamConfig
from bench.upstream.cost import count_parameters, superb_macs
from bench.upstream.reference_names import MINI_HUBERT, hub_id

README = "README.md"

_SCORES_BEGIN, _SCORES_END = "<!-- scores of the run -->", "<!-- end of the scores -->"
"""Enclose the part of a card that `with_scores` replaces."""

_FAMILIES = {
    "hubert": ("HuBERT", "2106.07447"),
    "wav2vec2": ("wav2vec 2.0", "2006.11477"),
    "wavlm": ("WavLM", "2110.13900"),
}
"""Title of each architecture and arXiv number of its paper."""
_ARXIV = re.compile(r"\b\d{4}\.\d{4,5}\b")


@dataclass(frozen=True)
class ShownScore:
    """One score of the model on a test set, over several seeds of the downstream head."""

    task: str
    """Name of the task, such as ``ks``."""
    metric: str
    """Name of the metric, such as ``accuracy``."""
    title: str
    """Both, for people."""
    value: float
    """Mean over seeds: a fraction."""
    spread: float | None
    """Standard deviation over seeds. None for one seed."""
    num_seeds: int
    data: str
    """Name and version of the corpora."""
    preset: str
    protocol: str

    @property
    def setting(self) -> tuple[str, str, str]:
        """What scores must share to be compared."""
        return self.data, self.preset, self.protocol

    @property
    def percent(self) -> str:
        """The value for people."""
        spread = "" if self.spread is None else f" ± {100 * self.spread:.2f}"
        return f"{100 * self.value:.2f}{spread} %"


@dataclass(frozen=True)
class Usage:
    """How a card's reader loads the model."""

    library: str
    """Name of the library, as the hub spells it."""
    code: str
    """Lines of code or commands. ``{model}`` stands for the folder or the hub id."""
    language: str = "python"
    """Language of the code."""


SUITE_USAGE = Usage(
    "superb-bench",
    """from bench.upstream import load_upstream

model = load_upstream("{model}")
states, lengths = model(waveforms)  # (batch, samples) at 16 kHz -> a list of (batch, frames, dim)""",
)


def readme_text(
    name: str,
    config: UpstreamConfig,
    size_bytes: int,
    provenance: Mapping[str, Any],
    usage: Usage = SUITE_USAGE,
    scores: Sequence[ShownScore] = (),
) -> str:
    """Write a card.

    Args:
        name: of the model, its title.
        config: its shape.
        size_bytes: size of its weights.
        provenance: as in ``config.json``. Unknown and malformed entries are left out.
        usage: how to load it.
        scores: of a finished run.
    """
    base = _base_model(provenance)
    front = _front_matter(name, config, provenance, usage, scores)
    sections = [
        f"# {_cell(name)}",
        _sentence(config, provenance, base),
        _table(("", ""), _facts(config, size_bytes, provenance, base)),
        "## Use",
        f"```{usage.language}\n{usage.code.replace('{model}', _line(name))}\n```",
        "## Scores",
        _SCORES_BEGIN,
        _scores(scores),
        _SCORES_END,
        "## Licence",
        _licence(base),
    ]
    return f"---\n{dump_yaml(front)}---\n\n" + "\n\n".join(sections) + "\n"


def with_scores(card: str, scores: Sequence[ShownScore]) -> str:
    """Replace the scores in a card's text, and nothing else. A card without the marks around them is not changed."""
    head, begin, rest = card.partition(_SCORES_BEGIN)
    _, end, tail = rest.partition(_SCORES_END)
    return f"{head}{begin}\n\n{_scores(scores)}\n\n{end}{tail}" if begin and end else card


def _front_matter(
    name: str, config: UpstreamConfig, provenance: Mapping[str, Any], usage: Usage, scores: Sequence[ShownScore]
) -> dict[str, Any]:
    base = _base_model(provenance)
    on_hub = hub_id(base) if base else None
    tags = ["superb-bench", "speech", config.architecture, *_methods(provenance)]
    front: dict[str, Any] = {"library_name": usage.library, "pipeline_tag": "feature-extraction"}
    if on_hub:
        front["base_model"] = on_hub
    if base == MINI_HUBERT:
        front["license"] = "apache-2.0"
    front["tags"] = list(dict.fromkeys(["model-compression", *tags] if _methods(provenance) else tags))
    if scores:
        front["model-index"] = [{"name": name, "results": [_result(score) for score in scores]}]
    return front


def _result(score: ShownScore) -> dict[str, Any]:
    return {
        "task": {"type": score.task, "name": score.title},
        "dataset": {"type": score.data, "name": f"{score.data}, preset {score.preset}, protocol {score.protocol}"},
        "metrics": [{"type": score.metric, "name": score.title, "value": round(100 * score.value, 4)}],
    }


def _base_model(provenance: Mapping[str, Any]) -> str | None:
    for key in ("teacher", "converted_from"):
        found = provenance.get(key)
        if isinstance(found, str) and found:
            return found
    return None


def _shown(reference: str) -> str:
    """Show a reference without the folders of the machine that it was on."""
    return reference if hub_id(reference) else Path(reference).name or reference


def _methods(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the summary of each compressor that made the model, by name."""
    compressor = provenance.get("compressor")
    if not isinstance(compressor, str) or compressor == "none":
        return {}
    summaries = provenance.get("methods")
    known = summaries if isinstance(summaries, Mapping) else {}
    return {part: str(known.get(part, "")) for part in compressor.split("+")}


def _sentence(config: UpstreamConfig, provenance: Mapping[str, Any], base: str | None) -> str:
    family, _ = _FAMILIES[config.architecture]
    methods = " and ".join(_methods(provenance))
    if methods:
        return f"A {family} model, compressed from {_cell(_shown(base or 'an unknown model'))} with {_cell(methods)}."
    return f"A {family} model" + (f", converted from {_cell(_shown(base))}." if base else ".")


def _facts(
    config: UpstreamConfig, size_bytes: int, provenance: Mapping[str, Any], base: str | None
) -> list[tuple[str, str]]:
    params = count_parameters(config)
    of_teacher = provenance.get("teacher_params")
    share = f" ({params / of_teacher:.1%} of the base model's)" if isinstance(of_teacher, int) and of_teacher else ""
    macs = superb_macs(config)
    giga = f"{macs.macs / 1e9:,.1f} G (SUPERB's profiler: {macs.macs_superb / 1e9:,.1f} G)"
    facts = [("base model", _cell(_shown(base)))] if base else []
    for method, summary in _methods(provenance).items():
        facts.append(("method", _cell(f"{method}: {summary}" if summary else method)))
    return [
        *facts,
        (
            "papers",
            ", ".join(f"[arXiv {paper}](https://arxiv.org/abs/{paper})" for paper in _papers(config, provenance)),
        ),
        ("parameters", f"{params:,}{share}"),
        ("size of the weights", size_text(size_bytes)),
        ("MACs of SUPERB's 32 utterances", giga),
        ("layers", f"{config.num_layers}, {config.dim} wide, one frame per {config.stride} samples at 16 kHz"),
        ("waveforms", "scaled to zero mean and unit variance" if config.normalize_waveform else "as they are"),
        *_origin(provenance),
    ]


def _papers(config: UpstreamConfig, provenance: Mapping[str, Any]) -> list[str]:
    found = [number for summary in _methods(provenance).values() for number in _ARXIV.findall(summary)]
    return list(dict.fromkeys([*found, _FAMILIES[config.architecture][1]]))


def _origin(provenance: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    data = provenance.get("data")
    hours = provenance.get("audio_hours")
    if isinstance(data, Mapping) and isinstance(data.get("name"), str):
        length = f", {hours:.3g} hours of audio" if isinstance(hours, int | float) else ""
        yield "training data", _cell(Path(data["name"]).name) + length
    for key in ("preset", "seed", "finished"):
        if isinstance(provenance.get(key), str | int):
            yield key, _cell(str(provenance[key]))
    versions = provenance.get("versions")
    if isinstance(versions, Mapping):
        yield (
            "made with",
            _cell(", ".join(f"{key} {versions[key]}" for key in ("superb-bench", "torch") if key in versions)),
        )


def _scores(scores: Sequence[ShownScore]) -> str:
    if not scores:
        return "None recorded. `bench run` and `bench evaluate` measure them."
    rows = [
        [_cell(text) for text in (score.title, score.percent, str(score.num_seeds), *score.setting)] for score in scores
    ]
    return _table(("test score", "mean", "seeds", "data", "preset", "protocol"), rows)


def _licence(base: str | None) -> str:
    if base == MINI_HUBERT:
        return "Apache-2.0, as its base model. Trained on synthetic speech only."
    origin = (
        f"{_cell(_shown(base))} and of its training data" if base else "the original model and of its training data"
    )
    return f"Not recorded. The licences of {origin} apply: state the result here before you share the model."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    """Make text from a file safe inside a table and a paragraph."""
    return re.sub(r"([|<>`\[\]*_\\])", r"\\\1", _line(text))


def _line(text: str) -> str:
    return " ".join(printable(shortened(text, 200)).split())
