"""Runs on a real Slurm of one node: nothing is done twice, nothing is lost, and a further call follows the jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.runs.executors.slurm import executor as slurm_executor
from bench.runs.executors.slurm.executor import Slurm
from bench.runs.executors.slurm.options import read_options
from bench.runs.states import States
from bench.store.run_folder import RunFolder
from bench.store.submissions import Submissions
from tests.helpers.command_line import bench
from tests.helpers.slurm import Cluster, running_cluster, why_not
from tests.helpers.slurm_items import events, plan, quick_job, ticks
from tests.helpers.tiny_runs import QUICK, config_of, write_data, write_teacher

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 240.0
FIRST, SECOND = "compress prune-only-0.2-seed0", "compress prune-only-0.3-seed0"
CELLS = ["teacher ks seed 0", "prune-only-0.2 ks seed 0", "prune-only-0.3 ks seed 0"]
ALL = [FIRST, SECOND, *CELLS]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm: {reason}")
    with running_cluster() as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        # The jobs take it along.
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        yield cluster


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("given")
    sweep = {"compressors": "prune-only", "sparsities": "0.2,0.3", "training_budget": "preset", "seeds": "0"}
    teacher = write_teacher(folder / "teacher")
    settings = ("importance=l2", "recovery=null")
    return config_of(write_data(folder / "data"), *settings, teacher=str(teacher), **sweep)


@pytest.fixture
def run(config: RunConfig, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run of which nothing is done; its items are stand-ins."""
    monkeypatch.setattr(slurm_executor, "SHORTEST_LOOK_S", 0.3)
    monkeypatch.setattr(slurm_executor, "LONGEST_LOOK_S", 0.3)
    folder = RunFolder(tmp_path / "run")
    folder.write_config(config.model_dump(mode="json"))
    plan(folder.path)
    yield folder.path
    cluster.end_jobs()


def call(run: Path, options: str = "time=10") -> dict[str, tuple[str, str]]:
    """Call the executor; return the state of every item, and why it failed."""
    return by_label(Slurm(read_options(options)).work_through(quick_job(run)))


def by_label(states: States) -> dict[str, tuple[str, str]]:
    return {item.label: (state.kind, state.reason) for item, state in states.items()}


class Call:
    """A call of the executor that goes on while the test interferes."""

    def __init__(self, run: Path, options: str = "time=10") -> None:
        self._found: dict[str, tuple[str, str]] = {}
        self._thread = threading.Thread(target=lambda: self._found.update(call(run, options)), daemon=True)
        self._thread.start()

    def end(self) -> Mapping[str, tuple[str, str]]:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        return self._found


def wait_until(reached: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def job_of(run: Path, label: str) -> str:
    """Return the job that an item was submitted as."""
    return {name: job for each in Submissions(run).all() for name, job in each.job_ids().items()}[label]


def counts(run: Path) -> Counter[tuple[str, str]]:
    return Counter(events(run))


def assert_each_done_once(run: Path) -> None:
    assert counts(run) == {(event, label): 1 for label in ALL for event in ("begin", "end")}


def test_items_become_arrays_and_cells_wait_for_their_compression(run: Path, cluster: Cluster) -> None:
    plan(run, {FIRST: 3})
    found = call(run, "time=10,cpus_per_task=1,array_parallelism=2")
    assert found == dict.fromkeys(ALL, ("done", ""))
    assert_each_done_once(run)
    assert events(run).index(("end", FIRST)) < events(run).index(("begin", CELLS[1]))
    assert [len(each.labels) for each in Submissions(run).all()] == [2, 1, 1, 1]
    wait_until(lambda: {cluster.jobs()[job_of(run, label)] for label in ALL} == {"COMPLETED"})


def test_status_shows_jobs_and_logs_and_a_further_call_follows_them(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan(run, seconds=3)
    submissions = Submissions(run)
    sleep = time.sleep

    def interrupted(seconds: float) -> None:
        if events(run):
            raise KeyboardInterrupt
        sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(slurm_executor.time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call(run)
    assert "scancel" in caplog.text
    shown = {row["subject"]: row for row in json.loads(bench("status", str(run), "--json").stdout)}
    job = shown["prune-only-0.2 ks seed 0"]["job"]
    assert (job["id"], job["state"], job["reason"]) == (job_of(run, CELLS[1]), "PENDING", "Dependency")
    (running,) = (row for row in shown.values() if row["job"]["id"] == job_of(run, events(run)[0][1]))
    assert running["job"]["state"] == "RUNNING"
    assert Path(running["job"]["log"]).is_file()
    assert "RUNNING" in bench("status", str(run)).stdout
    before = [each.name for each in submissions.all()]
    # As if the first call had been killed before it could store the number.
    array = next(each for each in submissions.all() if len(each.labels) == 2)
    submissions.keep(array.model_copy(update={"job_id": None}))
    assert set(call(run).values()) == {("done", "")}
    assert [each.name for each in submissions.all()] == before
    assert_each_done_once(run)


def test_an_item_that_fails_is_noted_and_tried_again_by_the_next_call(run: Path, cluster: Cluster) -> None:
    plan(run, {FIRST: "fails"})
    found = call(run)
    assert found[FIRST] == ("failed", "no luck")
    assert found[CELLS[1]][0] == "blocked"
    assert [found[label][0] for label in (SECOND, CELLS[0], CELLS[2])] == ["done"] * 3
    wait_until(lambda: cluster.jobs()[job_of(run, CELLS[1])] == "CANCELLED")
    plan(run)
    assert set(call(run).values()) == {("done", "")}
    assert counts(run)["begin", FIRST] == 2
    assert counts(run)["begin", SECOND] == 1


def test_a_cancelled_job_is_reported_and_goes_on_with_the_next_call(run: Path, cluster: Cluster) -> None:
    plan(run, {SECOND: 6})
    going = Call(run)
    wait_until(lambda: ticks(run, SECOND) > 5)
    job = job_of(run, SECOND)
    cluster.call("scancel", job)
    found = going.end()
    assert found[SECOND][0] == "failed"
    assert f"job {job} ended without a result: CANCELLED" in found[SECOND][1]
    assert found[FIRST] == ("done", "")
    assert set(call(run).values()) == {("done", "")}
    assert ticks(run, SECOND) == 60
    assert counts(run)["end", SECOND] == 1


def test_a_killed_process_is_reported_and_goes_on_with_the_next_call(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_executor, "LATE_RESULT_S", 1.0)
    plan(run, {SECOND: 6})
    going = Call(run)
    wait_until(lambda: ticks(run, SECOND) > 5)
    lock = json.loads(RunFolder(run).lock_path(SECOND).read_text())
    os.kill(lock["pid"], signal.SIGKILL)
    found = going.end()
    assert "FAILED" in found[SECOND][1]
    assert set(call(run).values()) == {("done", "")}
    assert ticks(run, SECOND) == 60


def test_a_requeued_job_goes_on(run: Path, cluster: Cluster) -> None:
    plan(run, {SECOND: 6})
    going = Call(run)
    wait_until(lambda: ticks(run, SECOND) > 5)
    job = job_of(run, SECOND)
    cluster.call("scontrol", "requeue", job)
    assert set(going.end().values()) == {("done", "")}
    assert job_of(run, SECOND) == job
    assert ticks(run, SECOND) == 60
    assert counts(run)["begin", SECOND] == 2
    assert counts(run)["end", SECOND] == 1


def test_a_preempted_job_goes_on(run: Path, cluster: Cluster) -> None:
    plan(run, {SECOND: 6})
    going = Call(run, "time=10,cpus_per_task=4")
    wait_until(lambda: ticks(run, SECOND) > 5)
    cluster.call("sbatch", "--partition=urgent", "--cpus-per-task=4", "--output=/dev/null", "--wrap", "sleep 1")
    assert set(going.end().values()) == {("done", "")}
    assert ticks(run, SECOND) == 60
    assert counts(run)["begin", SECOND] == 2


def test_the_controller_may_stop_and_come_back(run: Path, cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    plan(run, seconds=2)
    going = Call(run)
    wait_until(lambda: events(run))
    cluster.stop_controller()
    wait_until(lambda: "does not answer" in caplog.text)
    cluster.start_controller()
    assert set(going.end().values()) == {("done", "")}
    assert_each_done_once(run)


def test_the_node_may_die_and_come_back(run: Path, cluster: Cluster) -> None:
    plan(run, {SECOND: 20})
    going = Call(run)
    wait_until(lambda: ticks(run, SECOND) > 5)
    cluster.kill_node()
    wait_until(lambda: cluster.call("sinfo", "-h", "-o", "%T").split()[0].startswith("down"))
    cluster.start_node()
    assert set(going.end().values()) == {("done", "")}
    assert ticks(run, SECOND) == 200
    assert counts(run)["end", SECOND] == 1


def test_jobs_and_local_processes_share_a_run(run: Path) -> None:
    plan(run, seconds=1)
    going = Call(run)
    wait_until(lambda: events(run))
    local = (
        "from pathlib import Path; from tests.helpers.slurm_items import *; Inline().work_through(quick_job(Path({})))"
    )
    local_process = subprocess.Popen([sys.executable, "-c", local.format(repr(str(run)))], cwd=REPOSITORY)
    assert set(going.end().values()) == {("done", "")}
    assert local_process.wait(DEADLINE_S) == 0
    assert_each_done_once(run)


def test_a_job_requeues_itself_before_its_time_limit(run: Path, cluster: Cluster) -> None:
    plan(run, {FIRST: 40})
    going = Call(run, "time=1,signal_delay_s=20")
    assert set(going.end().values()) == {("done", "")}
    assert ticks(run, FIRST) == 400
    assert counts(run)["begin", FIRST] >= 2
    assert counts(run)["end", FIRST] == 1
    shown = cluster.call("scontrol", "show", "job", job_of(run, FIRST))
    assert f"Restarts={counts(run)['begin', FIRST] - 1}" in shown


def test_the_command_does_real_items(cluster: Cluster, tmp_path: Path) -> None:
    data, teacher, out = write_data(tmp_path / "data"), write_teacher(tmp_path / "teacher"), tmp_path / "run"
    settings = ("importance=l2", "recovery=null", *(f"tasks.ks.{setting}" for setting in QUICK))
    sets = [word for setting in settings for word in ("--set", setting)]
    given = ["--teacher", str(teacher), "--data", str(data), "--preset", "smoke", "--tasks", "ks", "--out", str(out)]
    options = ["--executor", "slurm", "--slurm", "time=00:10:00,cpus_per_task=2"]
    done = bench("run", "--compressor", "prune-only", *given, *sets, *options)
    assert done.returncode == 0, done.stderr
    assert {row["state"] for row in json.loads(bench("status", str(out), "--json").stdout)} == {"done"}
    assert "prune-only" in (out / "leaderboard.csv").read_text()
    assert len(Submissions(out).all()) == 3
    again = bench("run", "--compressor", "prune-only", *given, *sets, *options)
    assert again.returncode == 0
    assert len(Submissions(out).all()) == 3


def test_what_slurm_refuses_is_said_in_one_line(run: Path) -> None:
    with pytest.raises(UserError, match="sbatch") as refused:
        call(run, "time=10,partition=absent")
    assert "partition" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert Submissions(run).all() == []
