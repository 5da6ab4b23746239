"""A GPU of its own for a process, on a machine with several: an engine on one machine counts GPUs, but names none."""

from __future__ import annotations

import os
import subprocess
import tempfile
from itertools import count
from pathlib import Path

from pose.files.locks import try_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"


def claim_gpu(folder: Path | None = None) -> str | None:
    """Let this process see one GPU, the first on which the fewest others claim to be; call it before torch is imported.

    The claim is a lock that ends with the process. Where a scheduler has chosen already, or there is but one, nothing
    is done.

    Args:
        folder: where the locks are, the same for all processes of the machine (default: that of temporary files).

    Returns:
        The GPU, as ``CUDA_VISIBLE_DEVICES`` now holds it; None where there was nothing to choose.
    """
    gpus = visible_gpus()
    if len(gpus) < 2:
        return None
    folder = folder or Path(tempfile.gettempdir())
    for place in count(1):
        for gpu in gpus:
            # never closed: the lock lasts as long as the process
            descriptor = os.open(folder / f"pose_gpu_{gpu}_{place}.lock", os.O_CREAT | os.O_RDONLY, 0o666)
            if try_lock(descriptor):
                os.environ[VISIBLE] = gpu
                return gpu
            os.close(descriptor)
    return None


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use: those that ``CUDA_VISIBLE_DEVICES`` names, or all that nvidia-smi
    does.
    """
    if VISIBLE in os.environ:
        return [one for one in os.environ[VISIBLE].split(",") if one]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()
