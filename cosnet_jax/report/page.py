"""Writes a report as one HTML file that needs no other file."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import jinja2
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import writable_folder, write_text
from cosnet_jax.report.tables import Table
from cosnet_jax.visualization import plots

JPEG_QUALITY = 85  # 0-100


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
      title: the heading.
      blocks: the contents in order. Each is a matplotlib `Figure`, a `Table`, an `Image`, a list of `Image` (shown as a
        grid) or a text (shown as a paragraph; a `markupsafe.Markup` is HTML already).
    """

    title: str
    blocks: Sequence


@dataclasses.dataclass(frozen=True)
class Image:
    """A picture with a caption.

    Attributes:
      pixels: (h, w, 3) uint8 RGB.
      caption: one sentence, or "".
    """

    pixels: np.ndarray
    caption: str = ""


def write_page(path: str | Path, title: str, metadata: Mapping[str, object], sections: Sequence[Section]) -> None:
    """Writes a self-contained HTML page; the file is either complete or not there.

    Args:
      path: the file, usually `report.html`; its folder is made where it does not exist.
      title: the title of the page.
      metadata: names and values (dataset, checkpoint, configuration, ...) that are listed below the title.
      sections: the parts in order.

    Raises:
      InputError: a section holds something that cannot be shown, or the file cannot be written.
    """
    shown = [(section.title, [render_block(block) for block in section.blocks]) for section in sections]
    writable_folder(Path(path).parent)
    render(Path(path), "page.html", title=title, metadata=metadata, sections=shown)


def render(path: Path, template: str, **values: object) -> None:
    """Fills a template of this folder and writes the page. The file's folder must exist.

    Values are escaped, and so are characters that do not print: see `cosnet_jax.errors.printable`.
    """
    loader = jinja2.PackageLoader("cosnet_jax", "report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.get_template(template).render(values)
    html = re.sub(r"[^\n -~]", lambda match: printable(match[0]), html)
    write_text(path, html)


def render_block(block: object) -> Markup:
    """Converts one block of a section to HTML."""
    if isinstance(block, Figure):
        return Markup(f'<figure class="plot">{plots.svg(block)}</figure>')
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Image):
        return _image(block)
    if isinstance(block, (list, tuple)) and all(isinstance(item, Image) for item in block):
        return Markup('<div class="grid">{}</div>').format(Markup("").join(_image(item) for item in block))
    if isinstance(block, Markup):
        return block
    if isinstance(block, str):
        return Markup("<p>{}</p>").format(block)
    raise InputError(f"a report cannot show {type(block).__name__}: Figure, Table, Image or text was expected")


def data_uri(pixels: np.ndarray, max_width: int = 1280) -> str:
    """Encodes an image as the data URI of a JPEG.

    Args:
      pixels: (h, w, 3) uint8 RGB.
      max_width: wider images are scaled down to this many pixels.
    """
    height, width = pixels.shape[:2]
    if width > max_width:
        size = (max_width, max(1, round(height * max_width / width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded_uri("jpeg", encoded)


def encoded_uri(kind: str, encoded: np.ndarray) -> str:
    """Puts an encoded image, "jpeg" or "png", into a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _image(image: Image) -> Markup:
    caption = Markup("<figcaption>{}</figcaption>").format(image.caption) if image.caption else ""
    height, width = image.pixels.shape[:2]
    return Markup('<figure><img src="{}" alt="{}" width="{}" height="{}" decoding="async">{}</figure>').format(
        data_uri(image.pixels), image.caption, width, height, caption
    )


def _table(table: Table) -> Markup:
    def row(cells: Sequence[str], cell_tag: str, attributes: str = "") -> str:
        first, *others = (str(escape(cell)) for cell in cells)
        rest = "".join(f"<{cell_tag}>{cell}</{cell_tag}>" for cell in others)
        scope = "col" if cell_tag == "th" else "row"
        return f'<tr{attributes}><th scope="{scope}">{first}</th>{rest}</tr>'

    quoted = ' class="quoted"'
    rows = [row(cells, "td", quoted if i in table.quoted else "") for i, cells in enumerate(table.rows)]
    split = len(rows) - table.totals
    parts = {"thead": [row(table.columns, "th")], "tbody": rows[:split], "tfoot": rows[split:]}
    html = "".join(f"<{tag}>{''.join(lines)}</{tag}>" for tag, lines in parts.items() if lines or tag == "tbody")
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return Markup(f'<div class="scroll"><table>{caption}{html}</table></div>')
