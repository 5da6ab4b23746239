"""The browser in which tests open the page."""

from __future__ import annotations

import pytest

from tests.browser import browser, sandbox


@pytest.fixture(scope="module")
def chromium():
    """A Chromium that Playwright drives."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = browser()
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=sandbox())
        yield started
        started.close()
