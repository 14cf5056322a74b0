"""Signals end a stage as Ctrl-C does, and a requested stop saves first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.stopping import STOP_SIGNAL, stop_when_asked
from compressors.training.loop import Training
from tests.helpers.small_training import STAGE, Noisy


class TestInterruptions:
    stage = STAGE

    def test_ctrl_c_is_left_to_the_application(self, training: Training) -> None:
        class Interrupted(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                raise KeyboardInterrupt

        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            training.run("stage", self.stage, Interrupted())
        signal.signal(signal.SIGINT, handler)

    def test_sigterm_ends_a_stage_as_ctrl_c_does(self, training: Training) -> None:
        """The application turns the signal into `KeyboardInterrupt`; lightning and the readers leave it to that."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        class Ended(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                if update == 5:
                    # So that a signal to the whole group, as of a terminal or ``timeout``, ends this process first.
                    readers = [child.pid for child in multiprocessing.active_children() if child not in others]
                    assert len(readers) == 2
                    assert {os.getpgid(reader) for reader in readers} == set(readers)
                    os.kill(os.getpid(), signal.SIGTERM)
                return super().forward(waveforms, update)

        others = multiprocessing.active_children()  # of earlier tests
        handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
        config = training.config.model_copy(update={"num_workers": 2})
        signal.signal(signal.SIGTERM, interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                replace(training, config=config).run("stage", self.stage, Ended())
            assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == [handlers[0], interrupt]
        finally:
            signal.signal(signal.SIGTERM, handlers[1])
        assert set(multiprocessing.active_children()) <= set(others)
        assert torch.load(training.workdir / "stage.ckpt", weights_only=True)["global_step"] == 3

    def test_a_requested_stop_saves_the_update_at_hand(self, training: Training) -> None:
        class Asked(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                if update == 4:
                    os.kill(os.getpid(), STOP_SIGNAL)
                return super().forward(waveforms, update)

        stop_when_asked()
        with pytest.raises(KeyboardInterrupt):
            training.run("stage", self.stage, Asked())
        # A periodic checkpoint would be of update 3.
        assert torch.load(training.workdir / "stage.ckpt", weights_only=True)["global_step"] == 5
        stop_when_asked()
        resumed = Noisy()
        training.run("stage", self.stage, resumed)
        straight = Noisy()
        replace(training, workdir=training.workdir / "straight").run("stage", self.stage, straight)
        for key, value in straight.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key

    @pytest.mark.parametrize(
        ("how", "error"), [(signal.SIGTERM, KeyboardInterrupt), (signal.SIGKILL, UserError)], ids=str
    )
    def test_readers_that_are_ended_end_the_stage(
        self, training: Training, how: signal.Signals, error: type[BaseException]
    ) -> None:
        class Ending(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                for child in multiprocessing.active_children():
                    # By another process: torch's readers take SIGTERM of their own for the end of the training.
                    subprocess.run(["kill", f"-{int(how)}", str(child.pid)], check=False)
                time.sleep(1)
                return super().forward(waveforms, update)

        config = training.config.model_copy(update={"num_workers": 2})
        with pytest.raises(error):
            replace(training, config=config).run("stage", self.stage, Ending())
