"""Where and with what the numbers of a benchmark were made."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

from semilla.training.devices import available_cores
from semilla.training.probe import processor


def provenance(*packages: str) -> dict[str, object]:
    """Processor, its cores, bf16 and load, versions of Python, semilla and some packages, commit and date."""
    return {
        "device": f"CPU ({_processor()}), {available_cores()} cores, bf16 by {_bf16()}",
        "load at the end": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("semilla", *packages)},
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _commit() -> str:
    """The commit, marked where anything but results differs from it: a benchmark in pieces writes its own results."""
    here = ["git", "-C", str(Path(__file__).parents[1])]
    asked = ["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", ".", ":!benchmarks/results"]
    commit, changed = (
        subprocess.run([*here, *words], capture_output=True, text=True, check=False).stdout.strip() for words in asked
    )
    return f"{commit or 'unknown'}{'-dirty' if changed else ''}"


def _bf16() -> str:
    """The instructions that multiply bf16 numbers here."""
    words = processor().split()
    return " and ".join(name for name in ("avx512_bf16", "amx_bf16") if name in words) or "none known"


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    for line in known.read_text().splitlines() if known.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
