"""The speech synthesiser as a separate program: reads requests from standard input, writes 16-bit speech.

espeak-ng is a GPL library. This file alone loads it, is started by path (see `synthesis`) and is never imported by
the package.

Protocol: the program first writes one JSON line, ``{"sample_rate_hz": 22050}`` or ``{"error": "..."}``. Then, for
every JSON line read (``text``, ``voice``, ``variant``, ``rate_wpm``, ``pitch``, ``pitch_range``,
``pause_ms``), it writes
``{"num_bytes": n, "phones": [[onset, "phone"], ...]}`` and n bytes of little-endian int16 samples, or
``{"error": "..."}``. Onsets are in samples; phones are in IPA, a pause is ``""``.

The library's state carries over from one utterance to the next, even through a fresh initialisation. Every utterance
is therefore synthesised in a fork of the initialised but never used process: its samples depend on its request alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AUDIO_OUTPUT_SYNCHRONOUS = 2
# Without this option the library ends the process when its data folder is unusable.
INITIALIZE_DONT_EXIT = 0x8000
INITIALIZE_PHONEME_EVENTS, INITIALIZE_PHONEME_IPA = 0x0001, 0x0002
CHARS_UTF8 = 1
RATE, PITCH, PITCH_RANGE, WORD_GAP = 1, 3, 4, 7
# The unit of word gaps.
WORD_GAP_MS = 10
POSITION_CHARACTER = 1
# The library keeps its data path in a fixed buffer: 120 characters work, 180 do not.
LONGEST_DATA_PATH = 100

EVENT_LIST_TERMINATED, EVENT_PHONEME = 0, 7


class EventId(ctypes.Union):
    """``espeak_EVENT.id``. A phoneme's name fills all eight bytes or ends with NUL."""

    _fields_ = (("name", ctypes.c_void_p), ("characters", ctypes.c_ubyte * 8))


class Event(ctypes.Structure):
    """``espeak_EVENT`` of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", EventId),
    )


SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


class SynthesisError(Exception):
    """The synthesiser cannot handle a request."""


class Espeak:
    """The initialised library. Call `synthesize` once per fork only."""

    def __init__(self, library_path: str, data_path: Path):
        self._variants = data_path / "voices" / "!v"
        self._library = ctypes.CDLL(library_path)
        options = INITIALIZE_DONT_EXIT | INITIALIZE_PHONEME_EVENTS | INITIALIZE_PHONEME_IPA
        rate = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data_path), options)
        if rate <= 0:
            raise SynthesisError(f"espeak-ng cannot use its data folder {data_path} (code {rate})")
        # Initialisation seeds the breath of voices such as f2 with the time of day.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        # Read the table of voices once, instead of in every fork.
        self._library.espeak_ListVoices(None)
        self.sample_rate_hz: int = rate
        self._samples = bytearray()
        self._phones: list[tuple[int, str]] = []
        self._callback = SynthCallback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, num_samples: int, events: Any) -> int:
        if samples and num_samples > 0:
            self._samples += ctypes.string_at(samples, 2 * num_samples)
        index = 0
        while events and events[index].type != EVENT_LIST_TERMINATED:
            if events[index].type == EVENT_PHONEME:
                name = bytes(events[index].id.characters).partition(b"\0")[0]
                self._phones.append((events[index].sample, name.decode()))
            index += 1
        return 0

    def synthesize(self, request: dict[str, Any]) -> tuple[bytes, list[tuple[int, str]]]:
        """Speak one request. Return little-endian int16 samples, and the onset and name of every phone."""
        voice, variant = request["voice"], request["variant"]
        # The library silently replaces an unknown variant by the plain voice.
        if not (self._variants / variant).is_file():
            raise SynthesisError(f"espeak-ng has no voice variant {variant!r}")
        if self._library.espeak_SetVoiceByName(f"{voice}+{variant}".encode()) != 0:
            raise SynthesisError(f"espeak-ng has no voice {voice!r}")
        for parameter, name, unit in (
            (RATE, "rate_wpm", 1),
            (PITCH, "pitch", 1),
            (PITCH_RANGE, "pitch_range", 1),
            (WORD_GAP, "pause_ms", WORD_GAP_MS),
        ):
            if self._library.espeak_SetParameter(parameter, int(request[name]) // unit, 0) != 0:
                raise SynthesisError(f"espeak-ng refuses {name} {request[name]}")
        text = request["text"].encode()
        failed = self._library.espeak_Synth(
            text, ctypes.c_size_t(len(text) + 1), 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None
        )
        if failed or self._library.espeak_Synchronize() != 0:
            raise SynthesisError(f"espeak-ng cannot speak {request['text']!r}")
        return bytes(self._samples), self._phones


@contextmanager
def _short_path(data_path: Path) -> Iterator[Path]:
    """Return a path of the data folder that is short enough for the library."""
    if len(os.fsencode(data_path)) <= LONGEST_DATA_PATH:
        yield data_path
        return
    # Not in the configured temporary folder, whose own path may be too long.
    with tempfile.TemporaryDirectory(prefix="espeak-", dir="/tmp") as folder:
        link = Path(folder, "espeak-ng-data")
        link.symlink_to(data_path)
        yield link


def _write(header: dict[str, Any], payload: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + payload)
    sys.stdout.buffer.flush()


def _answer(espeak: Espeak, line: str) -> None:
    """Answer one request. A fork does nothing else."""
    try:
        samples, phones = espeak.synthesize(json.loads(line))
    except (SynthesisError, KeyError, ValueError) as error:
        _write({"error": f"{type(error).__name__}: {error}"})
    else:
        _write({"num_bytes": len(samples), "phones": phones}, samples)


def _serve(espeak: Espeak) -> None:
    # Unbuffered, so that a fork inherits no requests that were read ahead.
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    buffered = b""
    while chunk := requests.read(65_536):
        *lines, buffered = (buffered + chunk).split(b"\n")
        for line in lines:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    _answer(espeak, line.decode())
                    code = 0
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            if status != 0:
                _write({"error": f"espeak-ng failed with exit code {os.waitstatus_to_exitcode(status)}"})


def main() -> None:
    """Initialise the library and answer requests until standard input ends."""
    try:
        import espeakng_loader
    except ImportError as error:
        _write({"error": f"cannot import espeakng_loader ({error})"})
        return
    try:
        with _short_path(Path(espeakng_loader.get_data_path())) as data_path:
            espeak = Espeak(espeakng_loader.get_library_path(), data_path)
            _write({"sample_rate_hz": espeak.sample_rate_hz})
            _serve(espeak)
    except BrokenPipeError:
        raise
    except (SynthesisError, OSError, RuntimeError) as error:
        _write({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        # The calling program has gone. Exit without flushing to a closed pipe.
        os._exit(1)
