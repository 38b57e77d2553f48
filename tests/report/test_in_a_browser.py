"""The report, its players and the report of ablations, as a browser shows them."""

from __future__ import annotations

import numpy as np
import pytest
from browser import assert_readable, open_page
from memory_sequence import moving_ellipses, write_masks

from cosnet_jax.evaluation.score import score_masks
from cosnet_jax.report.ablation_report import paper_ablation, write_ablation_report
from cosnet_jax.report.evaluation_report import write_evaluation_report
from cosnet_jax.report.page import Section
from cosnet_jax.report.tables import Table

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a<|script>alert(2)<|script>".replace("|", "\N{DIVISION SLASH}"),
    "\"'><svg onload=alert(3)>",
    "{{ title }} & $x$ %2e%2e #?",
    "_caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{PILE OF POO}",
    "line\nbreak\x07\x1b[31m",
    "\udcff bytes",
    "\N{RIGHT-TO-LEFT OVERRIDE}evil",
    "long" * 60,
]
NAMES = ["camel", "dog10", "dog9", *HOSTILE]
ESCAPED = {"\n": " ", "\x07": "\\x07", "\x1b": "\\x1b", "\udcff": "\\udcff", "\N{RIGHT-TO-LEFT OVERRIDE}": "\\u202e"}
SHOWN = [name.translate(str.maketrans(ESCAPED)) for name in NAMES]
CAPTION = "document.getElementById('caption').textContent"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The folder of an evaluation's report with hostile names, and of a report of ablations."""
    folder = tmp_path_factory.mktemp("reports <b>")
    sequences = [moving_ellipses(name, count=3, seed=number) for number, name in enumerate(NAMES)]
    masks = write_masks(
        folder / "masks",
        {
            sequence.name: {
                frame: np.roll(mask, 2 * number % 11, axis=1)
                for frame, mask in zip(sequence.frame_names, sequence.masks, strict=True)
            }
            for number, sequence in enumerate(sequences)
        },
    )
    sequences[1].masks[1] = None  # a frame without ground truth
    sequences[1].annotated = (0, 2)
    results = score_masks(sequences, masks, "videos", processes=1, dataset="davis16", split="val")
    results["per_sequence"]["dog9"]["T"] = None
    records = [{"step": step, "kind": "video", "loss": 1 / step} for step in (1, 2, 3)]
    records.append({"step": 3, "kind": "validation", "J": 0.5, "J_single_frame": 0.4})
    table = Table(["number", "J"], [["1", "1.0"], ["2", "–"], ["10", "−3.0"], ["9", "20.0"], ["all", "6.0"]], totals=1)
    write_evaluation_report(
        folder / "report.html",
        f"COSNet on {HOSTILE[0]}",
        results,
        metadata={"checkpoint": "\udcff" + HOSTILE[1], HOSTILE[2]: "long" * 60},
        sequences=sequences,
        masks_dir=masks,
        training_records=records,
        sections=[Section("Another table", ["A text " + HOSTILE[0], table])],
    )
    settings = [
        {
            "num_references": n,
            "sampling": "uniform",
            "fusion": "summary",
            "per_sequence": {name: {"J": n / 9} for name in NAMES},
        }
        for n in range(8)
    ]
    scores = {"dataset": "davis16", "split": "val", "sequences": len(NAMES), "settings": settings}
    ablation = scores | paper_ablation(scores) | {"paper": paper_ablation(scores)}
    write_ablation_report(folder / "ablation.html", f"Ablations of {HOSTILE[0]}", ablation, {"checkpoint": HOSTILE[1]})
    return folder


def address(reports, page):
    return (reports / page).as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["report.html", "ablation.html", "players/dog10.html", f"players/{HOSTILE[0]}.html"])
def test_readable_on_a_desk_and_on_a_telephone(browser, reports, page, scheme):
    with open_page(browser, address(reports, page), color_scheme=scheme) as shown:
        for width in (1200, 400):
            shown.set_viewport_size({"width": width, "height": 800})
            assert_readable(shown)
        bright = shown.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0] > 127")
        assert bright == (scheme == "light")


def test_images_load_and_wide_tables_and_figures_scroll_in_their_own_boxes(browser, reports):
    with open_page(browser, address(reports, "report.html"), width=400) as shown:
        widths = shown.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
        assert len(widths) == 6 and min(widths) > 0
        boxes = (
            "[...document.querySelectorAll('.scroll, .plot')].filter(box => box.scrollWidth > box.clientWidth).length"
        )
        assert shown.evaluate(boxes) >= 3


def rows(shown, heading):
    """The texts of the rows of the table in the section with this heading, as they stand on the page."""
    table = shown.locator("section", has=shown.get_by_role("heading", name=heading, exact=True)).locator("table")
    return [row.split("\t") for row in table.locator("tbody tr, tfoot tr").all_inner_texts()]


def press(shown, label):
    """Walks with the Tab key to a button, and presses Enter."""
    for _ in range(20):
        shown.keyboard.press("Tab")
        if shown.evaluate("document.activeElement.textContent") == label:
            return shown.keyboard.press("Enter")
    raise AssertionError(f"the Tab key does not reach {label}")


def test_tables_are_sorted_from_the_keyboard(browser, reports):
    with open_page(browser, address(reports, "report.html")) as shown:
        press(
            shown, "number"
        )  # the first buttons on the page are those of "Another table"; the one before has two rows
        state = "[...document.querySelectorAll('[aria-sort]')].map(h => [h.textContent, h.getAttribute('aria-sort')])"
        assert [row[0] for row in rows(shown, "Another table")] == ["1", "2", "9", "10", "all"]
        assert shown.evaluate(state) == [["number", "ascending"]]
        press(shown, "J")
        assert [row[1] for row in rows(shown, "Another table")] == ["20.0", "1.0", "−3.0", "–", "6.0"]
        assert shown.evaluate(state) == [["J", "descending"]]
        shown.keyboard.press("Space")
        assert [row[1] for row in rows(shown, "Another table")] == ["−3.0", "1.0", "20.0", "–", "6.0"]
        assert shown.evaluate(state) == [["J", "ascending"]]

        press(shown, "sequence")
        names = [row[0] for row in rows(shown, "Sequences")]
        assert sorted(names) == sorted(SHOWN)
        assert names.index("camel") < names.index("dog9") < names.index("dog10")
        press(shown, "J mean")
        scores = [float(row[1]) for row in rows(shown, "Sequences")]
        assert scores == sorted(scores, reverse=True)


def test_the_tab_key_brings_a_heading_into_a_narrow_window(browser, reports):
    with open_page(browser, address(reports, "ablation.html"), width=400) as shown:
        for label in ("N = 0", "N = 7"):
            press(shown, label)
            left, right = shown.evaluate("(b => [b.left, b.right])(document.activeElement.getBoundingClientRect())")
            assert 100 < left < right <= 400, label  # not below the names, which stay on the left


def test_names_are_text_and_lead_to_their_players(browser, reports):
    with open_page(browser, address(reports, "report.html")) as shown:
        assert shown.evaluate("document.scripts.length") == 1
        assert shown.locator("[onload], [onerror]").count() == 0
        links = shown.locator("tbody th a")
        assert links.all_inner_texts() == SHOWN
        for name, link in zip(SHOWN, links.evaluate_all("links => links.map(link => link.href)"), strict=True):
            shown.goto(link)
            assert shown.get_by_role("heading").inner_text() == name
            assert shown.evaluate("document.images.image.decode().then(() => document.images.image.naturalWidth)") == 64


def test_a_player_plays_and_stops(browser, reports):
    with open_page(browser, address(reports, "players/dog10.html"), width=400, has_touch=True) as shown:
        shown.get_by_role("button", name="Play").tap()
        shown.wait_for_function(f"{CAPTION}.includes('00002')")
        shown.wait_for_function(f"{CAPTION}.includes('00000')")  # it begins again
        shown.get_by_role("button", name="Pause").tap()
        before = shown.evaluate(CAPTION)
        shown.wait_for_timeout(250)
        assert shown.evaluate(CAPTION) == before
        assert shown.get_by_role("button", name="Play").is_visible()


def test_a_player_is_driven_from_the_keyboard(browser, reports):
    with open_page(browser, address(reports, "players/dog10.html")) as shown:
        focused = "document.activeElement.id"
        for expected in ("play", "position"):
            shown.keyboard.press("Tab")
            assert shown.evaluate(focused) == expected
        first = shown.evaluate("document.images.image.src")
        for key, frame in (("ArrowRight", 1), ("End", 2), ("ArrowLeft", 1), ("Home", 0), ("End", 2)):
            shown.keyboard.press(key)
            assert shown.evaluate(CAPTION).startswith(f"frame 0000{frame}")
        assert shown.evaluate("document.images.image.src") != first

        visible = "['prediction', 'truth'].map(id => document.getElementById(id).checkVisibility())"
        assert shown.evaluate(visible) == [True, False]
        shown.keyboard.press("Tab")
        shown.keyboard.press("Space")
        assert (shown.evaluate(focused), shown.evaluate(visible)) == ("show-prediction", [False, False])
        shown.keyboard.press("Tab")
        shown.keyboard.press("Space")
        assert (shown.evaluate(focused), shown.evaluate(visible)) == ("show-truth", [False, True])
        shown.keyboard.press("Shift+Tab")
        shown.keyboard.press("Space")
        assert shown.evaluate(visible) == [True, True]
        shown.get_by_role("slider").fill("1")  # a frame without ground truth
        assert shown.evaluate(visible) == [True, False]
        assert shown.evaluate(CAPTION) == "frame 00001, no ground truth"


def test_a_screen_reader_is_told_what_a_player_shows(browser, reports):
    with open_page(browser, address(reports, "players/camel.html")) as shown:
        slider = shown.get_by_role("slider", name="frame")
        assert slider.get_attribute("aria-valuetext") == shown.evaluate(CAPTION) == "frame 00000, J 100.0"
        for name in ("prediction", "ground truth"):
            assert shown.get_by_role("checkbox", name=name, exact=True).count() == 1
