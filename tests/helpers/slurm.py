"""A real Slurm of one node for tests, from Debian's packages, without systemd: munged, slurmctld and slurmd.

Everything is in one temporary folder, and the ports are free ones, so several can run on one machine.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
START_S = 60.0
"""Longest wait for a daemon."""

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
MinJobAge=300
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2,defer_batch
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2
"""


class Cluster:
    """A running Slurm.

    Args:
        folder: for its configuration, state and logs.
        cpus: of its node, which may be more than the machine has.
    """

    def __init__(self, folder: Path, cpus: int = 4) -> None:
        self.folder = folder
        self.host = socket.gethostname().split(".")[0]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._configuration = folder / "slurm.conf"
        self._configuration.write_text(
            CONFIGURATION.format(
                host=self.host,
                controller_port=_free_port(),
                node_port=_free_port(),
                user=getpass.getuser(),
                folder=folder,
                cpus=cpus,
            )
        )
        for name in ("state", "spool"):
            (folder / name).mkdir()

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client needs to reach it."""
        return {"SLURM_CONF": str(self._configuration)}

    def start(self) -> None:
        """Start all daemons, and wait until the node is idle."""
        self._start_munged()
        self._start("slurmctld", "-D", "-i")
        self.start_node()

    def start_node(self) -> None:
        """Start slurmd, and wait until the node takes jobs."""
        self._start("slurmd", "-D", "-N", self.host)
        self.wait_until_idle()

    def kill_node(self) -> None:
        """Kill slurmd alone; its jobs go on."""
        self._end("slurmd", signal.SIGKILL)

    def stop_controller(self) -> None:
        """End slurmctld alone; jobs go on. Killed, it could forget which jobs it had just started."""
        self._end("slurmctld", signal.SIGTERM)

    def start_controller(self) -> None:
        """Start slurmctld with the state that it had."""
        self._start("slurmctld", "-D")
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until the node takes jobs."""
        deadline = time.monotonic() + START_S
        while (state := self.call("sinfo", "-h", "-o", "%T", check=False).split()[:1]) not in (
            ["idle"],
            ["mixed"],
            ["allocated"],
        ):
            assert time.monotonic() < deadline, f"node: {state}; see {self.folder}"
            time.sleep(0.2)

    def call(self, program: str, *arguments: str, check: bool = True) -> str:
        """Run one of Slurm's programs; return what it prints."""
        found = subprocess.run(
            [_program(program), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not check or found.returncode == 0, found.stderr
        return found.stdout

    def jobs(self) -> dict[str, str]:
        """Return every job that Slurm remembers, and its state."""
        lines = self.call("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def end_jobs(self) -> None:
        """Cancel all jobs, and wait until they have ended."""
        self.call("scancel", f"--user={getpass.getuser()}", check=False)
        deadline = time.monotonic() + START_S
        while self.call("squeue", "-h", check=False).strip() and time.monotonic() < deadline:
            time.sleep(0.2)

    def stop(self) -> None:
        """End all jobs and daemons."""
        if {"slurmctld", "slurmd"} <= self._daemons.keys():
            self.end_jobs()
        for name in ("slurmd", "slurmctld", "munged"):
            self._end(name, signal.SIGTERM)

    def _start_munged(self) -> None:
        # As its own user where there is one: it refuses files of others.
        user = "munge" if os.getuid() == 0 else None
        folder = self.folder / "munge"
        folder.mkdir(mode=0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        if user:
            for path in (folder, key):
                shutil.chown(path, user, user)
        names = {
            "key-file": key,
            "socket": folder / "socket",
            "pid-file": folder / "pid",
            "seed-file": folder / "seed",
            "log-file": folder / "log",
        }
        options = [f"--{name}={path}" for name, path in names.items()]
        # The parent folder is not the daemon's own, hence --force.
        self._start("munged", "--foreground", "--force", *options, user=user)
        _wait_for(folder / "socket")
        (self.folder / "munge.socket").symlink_to(folder / "socket")

    def _start(self, name: str, *arguments: str, user: str | None = None) -> None:
        log = (self.folder / f"{name}.output").open("ab")
        with log:
            self._daemons[name] = subprocess.Popen(
                [_program(name), *arguments],
                env={**os.environ, **self.environment, "PATH": SEARCHED},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
                group=user,
            )

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(number)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a cluster, and remove all traces of it at the end."""
    # Munged's own user must reach it, and the path of its socket must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = Cluster(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def why_not() -> str | None:
    """Say why no cluster can be started here; None if one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing:
        return f"no {', '.join(missing)}: install Debian's slurm-wlm and munge"
    return None if os.getuid() == 0 else "slurmd starts jobs only as root"


def _program(name: str) -> str:
    found = shutil.which(name, path=SEARCHED)
    assert found, name
    return found


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_S
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)
