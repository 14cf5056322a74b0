"""The synthesiser process: what it says, what it refuses, and that it stays a separate program."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from bench.errors import UserError
from tasks.mini.speakers import ACCENTS, FEMALE_VARIANTS, MALE_VARIANTS
from tasks.mini.synthesis import Request, Synthesizer, check_synthesizer

YES = Request(text="yes", voice="en-us", variant="f1", rate_wpm=150, pitch=50, pitch_range=50)
SENTENCE = replace(YES, text="anna painted the green lamp", voice="gmw/en", variant="m3")


def spoken(*requests: Request) -> list[bytes]:
    with Synthesizer() as synthesizer:
        return [speech.samples.tobytes() for speech in synthesizer.synthesize(requests)]


@pytest.mark.usefixtures("synthesizer_installed")
class TestSpeech:
    def test_is_sound_of_the_length_of_speech(self) -> None:
        with Synthesizer() as synthesizer:
            (speech,) = synthesizer.synthesize([SENTENCE])
            duration_s = len(speech.samples) / synthesizer.sample_rate_hz
        assert synthesizer.sample_rate_hz == 22_050
        assert 1.0 < duration_s < 3.0
        assert 5_000 < np.abs(speech.samples.astype(int)).max() <= 32_767

    def test_does_not_depend_on_what_was_said_before(self) -> None:
        requests = (YES, SENTENCE, replace(YES, variant="f2"))
        alone = {request: spoken(request)[0] for request in requests}
        for order in permutations(requests):
            assert spoken(*order, *order) == [alone[request] for request in (*order, *order)]

    def test_does_not_depend_on_the_time_of_day(self) -> None:
        """espeak-ng seeds the breath of some voices by the second at which it is initialised."""
        requests = [replace(YES, variant=variant) for variant in (*FEMALE_VARIANTS, *MALE_VARIANTS)]
        first = spoken(*requests)
        time.sleep(1.1)
        assert spoken(*requests) == first

    def test_changes_with_every_field(self) -> None:
        others = [
            replace(YES, text="no"),
            replace(YES, voice="en-gb-scotland"),
            replace(YES, variant="m3"),
            replace(YES, rate_wpm=200),
            replace(YES, pitch=70),
            replace(YES, pitch_range=90),
        ]
        assert len(set(spoken(YES, *others))) == 1 + len(others)

    def test_every_accent_and_variant_exists_and_differs(self) -> None:
        accents = spoken(*(replace(SENTENCE, voice=accent) for accent in ACCENTS))
        variants = spoken(*(replace(YES, variant=variant) for variant in (*FEMALE_VARIANTS, *MALE_VARIANTS)))
        assert len(set(accents)) == len(ACCENTS)
        assert len(set(variants)) == len(FEMALE_VARIANTS) + len(MALE_VARIANTS)

    def test_works_from_a_very_long_installation_path(self, tmp_path: Path) -> None:
        found = importlib.util.find_spec("espeakng_loader")
        assert found is not None
        assert found.origin is not None
        deep = tmp_path / ("d" * 120) / ("e" * 120)
        deep.mkdir(parents=True)
        (deep / "espeakng_loader").symlink_to(Path(found.origin).parent)
        before = set(Path("/tmp").glob("espeak-*"))
        script = (
            "from tasks.mini.synthesis import *\n"
            "request = Request('yes', 'en-us', 'f1', 150, 50, 50)\n"
            "with Synthesizer() as synthesizer:\n"
            "    (speech,) = synthesizer.synthesize([request])\n"
            "print(len(speech.samples))"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(deep), *sys.path])}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert int(done.stdout) == len(spoken(YES)[0]) // 2, done.stderr
        assert set(Path("/tmp").glob("espeak-*")) <= before


@pytest.mark.usefixtures("synthesizer_installed")
class TestRefusals:
    def test_unknown_variant_is_not_spoken_by_another_voice(self) -> None:
        with pytest.raises(UserError, match="no voice variant 'zzz'"):
            spoken(replace(YES, variant="zzz"))

    def test_unknown_voice(self) -> None:
        with pytest.raises(UserError, match="no voice 'en-gb'"):
            spoken(replace(YES, voice="en-gb"))

    def test_death_of_the_process_is_told(self) -> None:
        with Synthesizer() as synthesizer:
            synthesizer._process.kill()
            synthesizer._process.wait()
            with pytest.raises(UserError, match="has died unexpectedly"):
                list(synthesizer.synthesize([YES]))

    def test_leaving_early_ends_the_process(self) -> None:
        with Synthesizer() as synthesizer:
            next(synthesizer.synthesize([SENTENCE] * 100))
        assert synthesizer._process.returncode is not None

    def test_a_failed_request_leaves_the_next_one_sound(self) -> None:
        with Synthesizer() as synthesizer:
            answers = synthesizer.synthesize([replace(YES, variant="zzz")])
            with pytest.raises(UserError):
                next(answers)
            (speech,) = synthesizer.synthesize([YES])
        assert speech.samples.tobytes() == spoken(YES)[0]


class TestWithoutTheExtra:
    def test_one_line_says_how_to_install_it(self, tmp_path: Path) -> None:
        script = (
            "import sys\n"
            "sys.modules['espeakng_loader'] = None\n"
            "from pathlib import Path\n"
            "from bench.errors import UserError\n"
            "from tasks.mini.corpora import MiniCorpora\n"
            f"corpora = MiniCorpora(Path({str(tmp_path)!r}))\n"
            "corpora.data()\n"
            "try: corpora.prepare()\n"
            "except UserError as error: print(error)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.stdout.count("\n") == 1, done.stderr
        assert 'pip install "espeakng-loader==' in done.stdout
        assert list(tmp_path.iterdir()) == []

    def test_a_broken_one_is_told_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "espeakng_loader.py").write_text("raise ImportError('torn wheel')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(UserError, match=r"torn wheel.*pip install"):
            Synthesizer()

    def test_platforms_without_fork_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "fork")
        with pytest.raises(UserError, match="cannot be synthesised on"):
            check_synthesizer()


def test_the_package_never_imports_the_synthesizer(small_corpora: object) -> None:
    assert "espeakng_loader" not in sys.modules
    assert "tasks.mini.espeak_worker" not in sys.modules
