"""Controls the synthesiser, a separate GPL program (`espeak_worker`), over pipes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UserError
from bench.installation.requirements import command_for

WORKER = Path(__file__).with_name("espeak_worker.py")
# Number of requests sent ahead: the worker never waits, and the pipe never fills.
REQUESTS_AHEAD = 4


@dataclass(frozen=True)
class Request:
    """One utterance to synthesise."""

    text: str
    voice: str
    variant: str
    rate_wpm: int
    """espeak-ng limits it to 80 to 450."""
    pitch: int
    pitch_range: int
    pause_ms: int = 0
    """Additional pause between words, in steps of 10."""


@dataclass(frozen=True)
class Speech:
    """One synthesised utterance."""

    samples: NDArray[np.int16]
    """At the synthesiser's rate, shape (samples,)."""
    phones: tuple[tuple[int, str], ...]
    """Onset in samples and IPA name of every phone. Pauses have an empty name."""


def check_synthesizer() -> None:
    """Refuse a machine that cannot synthesise speech.

    Raises:
        UserError: the synthesiser is not installed, or the platform has no fork.
    """
    if not hasattr(os, "fork"):
        raise UserError(
            f"The embedded corpora cannot be synthesised on {sys.platform} yet: the synthesiser needs fork. "
            "Make them under Linux, macOS or WSL with `bench data synth DIR`, copy DIR, and use --data DIR/data.yaml."
        )
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError(f"The embedded corpora need a speech synthesiser, which is not installed. {_install()}")


def _install() -> str:
    return f"Install it with `{command_for('espeakng-loader')}`."


class Synthesizer:
    """One synthesiser process, a context manager. Not safe for several threads."""

    def __init__(self) -> None:
        check_synthesizer()
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.sample_rate_hz: int = self._read_header()["sample_rate_hz"]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Synthesizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # The worker cleans up and exits by itself once its pipes are closed.
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def synthesize(self, requests: Iterable[Request]) -> Iterator[Speech]:
        """Synthesise requests in order.

        Yields:
            Speech at ``sample_rate_hz``. It depends on the request alone.

        Raises:
            UserError: the synthesiser refused a request or died.
        """
        pending: deque[Request] = deque()
        for request in requests:
            self._send(request)
            pending.append(request)
            if len(pending) > REQUESTS_AHEAD:
                yield self._receive(pending.popleft())
        while pending:
            yield self._receive(pending.popleft())

    def _send(self, request: Request) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise UserError(
                f"The speech synthesiser has died unexpectedly. Run the command again. {_install()}"
            ) from error

    def _receive(self, request: Request) -> Speech:
        assert self._process.stdout is not None
        header = self._read_header()
        num_bytes = header["num_bytes"]
        payload = self._process.stdout.read(num_bytes)
        if len(payload) < num_bytes or num_bytes == 0:
            raise UserError(f"The speech synthesiser gave no speech for {request}. {_install()}")
        phones = tuple((onset, name) for onset, name in header["phones"])
        return Speech(samples=np.frombuffer(payload, dtype="<i2"), phones=phones)

    def _read_header(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            code = self._process.poll()
            raise UserError(f"The speech synthesiser has died unexpectedly (exit code {code}). {_install()}")
        header: dict[str, Any] = json.loads(line)
        if "error" in header:
            raise UserError(f"The speech synthesiser failed: {header['error']}. {_install()}")
        return header
