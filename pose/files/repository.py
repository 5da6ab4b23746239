"""Where this code lies, and which commit of it runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

# the folder of the installed packages where pip installed this one
REPOSITORY_FOLDER = Path(__file__).resolve().parents[2]


def git_commit() -> str | None:
    """Return the commit of this code, with "-dirty" where files differ from it; None where that cannot be told."""
    # Without this check, a copy of the code inside somebody else's repository would report that one's commit.
    if not (REPOSITORY_FOLDER / ".git").exists():
        return None
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    command = ["git", "--no-optional-locks", "-C", str(REPOSITORY_FOLDER), *describe]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
