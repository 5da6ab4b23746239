"""The browser that tests of pages drive."""

from __future__ import annotations

import os
import shutil

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser() -> str:
    """Return the path of a Chromium; the test is skipped where there is none."""
    found = os.environ.get("POSE_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium found (name one in POSE_BROWSER)")
    return found


def sandbox() -> list[str]:
    """Return the flags by which a browser runs as root, which it refuses unless it may do without its sandbox."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []
