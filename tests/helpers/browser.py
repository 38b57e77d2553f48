"""A real browser for the tests of pages, and what can be measured in a page that it shows."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MIN_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
MIN_TEXT = 12  # pixels
MIN_TARGET = 24  # pixels, WCAG 2.2, 2.5.8

# Lists each visible text with its size, its contrast to what is behind it, and whether it can be reached. Colours are
# painted on a canvas, because a style can name them in many ways.
MEASURE_TEXTS = """() => {
  const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1})
    .getContext("2d", {willReadFrequently: true});
  const painted = layers => {
    for (const colour of layers) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return context.getImageData(0, 0, 1, 1).data;
  };
  const luminance = layers => {
    const linear = [...painted(layers)].map(value => value / 255)
      .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const canvas = getComputedStyle(document.documentElement).colorScheme.includes("dark")
    && matchMedia("(prefers-color-scheme: dark)").matches ? "#121212" : "#ffffff";
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || element.closest("script, style") || !element.checkVisibility({visibilityProperty: true})) continue;
    const style = getComputedStyle(element), behind = [];
    for (let box = element; box; box = box.parentElement) behind.unshift(getComputedStyle(box).backgroundColor);
    const matrix = element.ownerSVGElement ? element.getScreenCTM() : null;
    const paper = luminance([canvas, ...behind]);
    const ink = luminance([canvas, ...behind, matrix ? style.fill : style.color]);
    texts.push({
      text, size: parseFloat(style.fontSize) * (matrix ? Math.hypot(matrix.a, matrix.b) : 1),
      contrast: (Math.max(paper, ink) + 0.05) / (Math.min(paper, ink) + 0.05),
    });
  }
  return texts;
}"""

# Lists what a finger has to hit. The label of a check box is part of it.
MEASURE_TARGETS = """() => [...document.querySelectorAll("a, button, input, select, textarea, summary")]
  .filter(element => element.checkVisibility({visibilityProperty: true}))
  .map(element => {
    const box = (element.closest("label") || element).getBoundingClientRect();
    return {name: element.outerHTML.slice(0, 80), width: box.width, height: box.height};
  })"""


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
    """Shows a page, and asserts in the end that the browser had nothing to complain about.

    Args:
      browser: from `open_browser`.
      address: the page, `file:` or `http:`.
      width: of the window in pixels.
      height: of the window in pixels.
      options: more options of playwright's `new_page`, e.g. `color_scheme="dark"`.

    Yields:
      Playwright's page. After the block no error in the console, no uncaught exception, no failed request and no dialog
      may have been seen.
    """
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    page.on("console", lambda line: line.type in ("error", "warning") and complaints.append(line.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url[:200]}: {request.failure}"))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    try:
        page.goto(address)
        yield page
    finally:
        page.close()
    assert not complaints, f"the browser complains: {complaints}"


def assert_readable(page: Any) -> None:
    """Asserts that a page fits its window's width, and that its texts and targets can be read and hit."""
    widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths[0] <= widths[1], f"the page is {widths[0]} px wide in a window of {widths[1]} px"
    texts, targets = page.evaluate(MEASURE_TEXTS), page.evaluate(MEASURE_TARGETS)
    assert texts, "the page has no text"
    poor = [text for text in texts if text["size"] < MIN_TEXT - 0.01 or text["contrast"] < MIN_CONTRAST]
    poor += [target for target in targets if min(target["width"], target["height"]) < MIN_TARGET]
    assert not poor, f"hard to read or to hit: {poor}"
