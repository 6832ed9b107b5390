"""What became of Slurm jobs, from `squeue`: it works where Slurm keeps no accounts, which is where submitit's own `sacct` says nothing."""

from __future__ import annotations

import time

from submitit.slurm.slurm import SlurmInfoWatcher

DEAF = 1800.0  #: seconds without an answer from Slurm after which its jobs count as lost
_EVERY = 20  #: seconds between questions, at most


class QueueWatcher(SlurmInfoWatcher):
    """States by job id. A job that Slurm has forgotten (MinJobAge after its end) ended."""

    def __init__(self) -> None:
        super().__init__(delay_s=_EVERY)
        self._answered = time.monotonic()

    def _make_command(self) -> list[str]:
        return ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        text = string if isinstance(string, str) else string.decode()
        self._answered = time.monotonic()
        listed = dict(line.strip().split("|") for line in text.splitlines() if "|" in line)
        return {job: {"JobID": job, "State": listed.get(job, "FORGOTTEN")} for job in self._registered - self._finished}

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        if time.monotonic() - self._answered > DEAF:
            return "LOST"
        state: str = super().get_state(job_id, mode)
        return state

    def wait(self) -> None:
        """Until every job has ended."""
        while not all(self.is_done(job) for job in self._registered):
            time.sleep(1)
