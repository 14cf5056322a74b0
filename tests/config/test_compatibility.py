"""Whether a finished compression is the one that a run wants."""

from __future__ import annotations

from typing import Any

import pytest

from bench.config.compatibility import difference_of_models
from bench.config.data import embedded
from tests.helpers.choices import settings_of


def provenance(data: str, root: str, **changes: Any) -> dict[str, Any]:
    return {
        "compressor": "prune-only",
        "preset": "mini",
        "recipe": settings_of("prune-only")["prune-only"],
        "seed": 0,
        "data": {"name": data, "audio": {"layout": "folder", "root": root, "hours": None}},
        **changes,
    }


def embedded_identity() -> str:
    return embedded("mini").data().identity


def test_embedded_corpora_are_the_same_wherever_they_lie() -> None:
    name = embedded_identity()
    assert difference_of_models(provenance(name, "/a/mini"), provenance(name, "/b/mini")) is None


def test_embedded_corpora_of_another_version_are_named() -> None:
    found = difference_of_models(provenance("mini-3-seed0", "/a/mini"), provenance(embedded_identity(), "/b/mini"))
    assert found is not None
    assert (found.name, found.there) == ("data.name", "mini-3-seed0")


def test_own_corpora_are_not() -> None:
    found = difference_of_models(provenance("own", "/a/mine"), provenance("own", "/b/mine"))
    assert found is not None
    assert found.name == "data.audio.root"


def test_other_audio_of_embedded_corpora_differs() -> None:
    name = embedded_identity()
    less = {"name": name, "audio": {"layout": "folder", "root": "/a/mini", "hours": 0.1}}
    found = difference_of_models(provenance(name, "/a/mini"), {**provenance(name, "/a/mini"), "data": less})
    assert found is not None
    assert found.name == "data.audio.hours"


def test_a_setting_that_came_later_is_filled_in() -> None:
    wanted = provenance("own", "/a")
    recipe = {key: value for key, value in wanted["recipe"].items() if key != "num_clusters"}
    assert recipe != wanted["recipe"]
    assert difference_of_models({**wanted, "recipe": recipe, "machine": "another"}, wanted) is None


@pytest.mark.parametrize(
    ("change", "name"), [({"seed": 1}, "seed"), ({"preset": "smoke"}, "preset"), ({"recipe": {}}, "recipe")]
)
def test_what_differs_is_named(change: dict[str, Any], name: str) -> None:
    wanted = provenance("own", "/a", recipe=settings_of("prune-only", "sparsity=0.3")["prune-only"])
    found = difference_of_models({**wanted, **change}, wanted)
    assert found is not None
    assert found.name.startswith(name)


def test_the_content_of_own_audio_must_be_the_same_where_it_is_known() -> None:
    wanted = provenance("own", "/a", training_audio_sha256="1")
    found = difference_of_models(provenance("own", "/a", training_audio_sha256="2"), wanted)
    assert found is not None
    assert found.name == "training_audio_sha256"
    assert difference_of_models(provenance("own", "/a"), wanted) is None
