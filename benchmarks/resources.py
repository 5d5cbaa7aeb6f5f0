"""What a process holds while something runs: resident memory, and how busy a GPU is.

Linux only: memory is read from ``/proc``, the GPU from ``nvidia-smi``.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

INTERVAL = 0.02
GPU_INTERVAL_MS = 100


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process in MB.

    Attributes:
        own: anonymous pages, which nobody else can use.
        total: with the pages of mapped files, which the system takes back when it needs them.
    """

    own: float
    total: float

    @classmethod
    def now(cls) -> Memory:
        """Of this process."""
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        sizes = {
            name: int(rest.split()[0]) / 1024
            for name, _, rest in (line.partition(":") for line in lines)
            if name in ("RssAnon", "VmRSS")
        }
        return cls(sizes["RssAnon"], sizes["VmRSS"])


class MemoryWatch:
    """The largest memory of this process within a ``with`` block, sampled 50 times a second.

    Attributes:
        peak: of each figure by itself.
    """

    def __init__(self) -> None:
        self.peak = Memory(0, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _look(self) -> None:
        now = Memory.now()
        self.peak = Memory(max(self.peak.own, now.own), max(self.peak.total, now.total))

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._look()

    def __enter__(self) -> MemoryWatch:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look()


class GpuWatch:
    """The share of time in which the first GPU ran a kernel, as ``nvidia-smi`` samples it.

    Begin it when warm-up is over. Where there is no ``nvidia-smi``, it finds nothing.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin to sample."""
        if shutil.which("nvidia-smi"):
            command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--id=0"]
            command += ["--format=csv,noheader,nounits", f"--loop-ms={GPU_INTERVAL_MS}"]
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )

    def stop(self) -> float | None:
        """The mean share in [0, 1]; None without a sample."""
        if self._process is None:
            return None
        self._process.terminate()
        output, _ = self._process.communicate()
        samples = [int(line) for line in output.split() if line.isdigit()]
        return statistics.mean(samples) / 100 if samples else None
