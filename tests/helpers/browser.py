"""A real browser for the tests of pages, and what can be measured in a page that it shows."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MIN_TARGET = 24  # pixels, WCAG 2.2, 2.5.8

# Lists what a finger has to hit and is too small. The label of a check box is part of it.
SMALL_TARGETS = """least => [...document.querySelectorAll("a, button, input, select, textarea, summary")]
  .filter(element => element.checkVisibility({visibilityProperty: true}))
  .filter(element => {
    const box = (element.closest("label") || element).getBoundingClientRect();
    return Math.min(box.width, box.height) < least;
  }).map(element => element.outerHTML.slice(0, 80))"""


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Starts a headless Chromium for `playwright.sync_api`; without one, the test that asks for it is skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright, which is not installed, drives the browser")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser is installed: expected one of {', '.join(PROGRAMS)}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(browser: Any, address: str, width: int = 1200, height: int = 900, **options: Any) -> Iterator[Any]:
    """Shows a page, and asserts in the end that the browser had nothing to complain about and asked no other server.

    Args:
      browser: from `open_browser`.
      address: the page, `file:` or `http:`.
      width, height: of the window in pixels.
      options: more options of playwright's `new_page`, e.g. `color_scheme="dark"`.

    Yields:
      Playwright's page. After the block no error in the console, no uncaught exception and no dialog may have come.
    """
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    own = (address if address.startswith("http") else "file:", "data:", "blob:")
    page.on("request", lambda request: request.url.startswith(own) or complaints.append(request.url))
    try:
        page.goto(address)
        yield page
    finally:
        page.close()
    assert not complaints, f"the browser complains: {complaints}"


def assert_readable(page: Any) -> None:
    """Asserts that a page fits its window's width, and that a finger can hit its targets."""
    widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths[0] <= widths[1], f"the page is {widths[0]} px wide in a window of {widths[1]} px"
    poor = page.evaluate(SMALL_TARGETS, MIN_TARGET)
    assert not poor, f"hard to hit: {poor}"
