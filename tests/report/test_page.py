"""The HTML page: complete in itself, well formed, and safe against what it is given."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from markupsafe import Markup

from cosnet_jax.errors import InputError
from cosnet_jax.report.page import Image, Section, data_uri, render_block, write_page
from cosnet_jax.report.tables import Table
from cosnet_jax.visualization.plots import frame_curves

PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (160, 120))
VOID = {"meta", "img", "br", "link", "input"}


class Outline(HTMLParser):
    """Collects tags, attributes and texts, and checks that tags are nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.texts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def decode(uri):
    kind, encoded = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    image = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@pytest.fixture
def page(tmp_path):
    table = Table(["", "J"], [["mine", "50.0"], ["theirs", "60.0"]], frozenset({1}), "Percent.")
    images = [Image(PIXELS, "one"), Image(PIXELS)]
    sections = [
        Section("First", ["A <b> & a text.", table, frame_curves({"camel": [0.5, 0.6]})]),
        Section("Second", [Image(PIXELS, "alone"), images, Markup("<p>A <em>marked</em> text.</p>")]),
    ]
    path = tmp_path / "out/report.html"
    write_page(path, "Title <script>", {"dataset": "davis16 & more", "sequences": 10}, sections)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_page_holds_everything_and_needs_nothing(page):
    outline = Outline(page)
    for text in ("Title <script>", "davis16 & more", "10", "First", "Second", "A <b> & a text.", "Percent.", "alone"):
        assert text in outline.texts
    assert outline.tags.count("img") == 3
    assert outline.tags.count("table") == outline.tags.count("svg") == outline.tags.count("em") == 1
    assert outline.tags.count("script") == 1  # the page's own, which sorts tables
    assert all(link.startswith(("data:", "#")) for link in outline.links)
    assert not re.search(r"@import|url\((?!#)", page)


def test_rows_of_others_are_marked(page):
    assert re.search(r'<tr class="quoted"><th scope="row">theirs</th><td>60.0</td></tr>', page)
    assert re.search(r'<tr><th scope="row">mine</th>', page)


def test_images_keep_their_colours():
    # JPEG at quality 85 with halved chroma.
    assert np.abs(decode(data_uri(PIXELS)).astype(int) - PIXELS).mean() < 6


def test_wide_images_are_scaled_down():
    assert decode(data_uri(PIXELS, max_width=80)).shape == (60, 80, 3)
    assert decode(data_uri(PIXELS, max_width=160)).shape == (120, 160, 3)


def test_markup_in_tables_and_captions_is_escaped():
    table = render_block(Table(["<i>"], [["<script>"]], caption="<b>"))
    assert "&lt;i&gt;" in table
    assert "&lt;script&gt;" in table
    assert "&lt;b&gt;" in table
    assert 'alt="&#34;&gt;"' in render_block(Image(PIXELS, '">'))


def test_rows_that_sum_up_stand_apart():
    table = render_block(Table(["name", "J"], [["a", "1.0"], ["all", "2.0"]], frozenset({1}), totals=1))
    last = '<tfoot><tr class="quoted"><th scope="row">all</th><td>2.0</td></tr></tfoot>'
    assert f'<tbody><tr><th scope="row">a</th><td>1.0</td></tr></tbody>{last}' in table
    assert "<tbody></tbody></table>" in render_block(Table(["name", "J"], []))  # the page's script expects a body


def test_what_does_not_print_is_an_escape(tmp_path):
    write_page(tmp_path / "report.html", "a\x1b\u202e\udcff é", {"\x07": "\x00"}, [Section("\x85", ["\u2066"])])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>a\\x1b\\u202e\\udcff é</h1>" in page
    assert "<dt>\\x07</dt><dd>\\x00</dd>" in page and "<h2>\\x85</h2>" in page and "<p>\\u2066</p>" in page


@pytest.mark.parametrize("block", [7, None, [1, 2], PIXELS])
def test_what_cannot_be_shown(block, tmp_path):
    with pytest.raises(InputError, match="cannot show"):
        write_page(tmp_path / "report.html", "t", {}, [Section("s", [block])])
    assert list(tmp_path.iterdir()) == []


def test_a_page_without_metadata_has_no_list(tmp_path):
    write_page(tmp_path / "new" / "report.html", "t", {}, [])
    assert "<dl>" not in (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
