"""The page in a real browser, wide and narrow: nothing is fetched, nothing complains, everything is there."""

import re

import pytest

from nemo_mixsd.reporting.build import ReportOptions, html_report
from nemo_mixsd.reporting.collect import group_runs, open_runs
from tests.browser import Browser, find_chromium
from tests.reports import full_group, make_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: apt-get install chromium"),
]

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
FIGURES = ["pareto", "heldout", "cdf", "sweep", "errors", "fisher-raw", "fisher-alignment"]
SECTIONS = ["results", "paper", "figures", "rate", "targets", "overlap", "tokens", "text", "checkpoints", "recipe"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    group = full_group(folder / "run")
    path = folder / "report.html"
    path.write_text(html_report([group], ReportOptions(paper=True, examples=3)))
    return path


@pytest.fixture(scope="module")
def common_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    runs = [make_run(folder / f"seed_{seed}", seed, forgetting=seed) for seed in range(3)]
    runs.append(make_run(folder / "other", corpus={"name": "kgfact", "size": "large"}))
    path = folder / "report.html"
    path.write_text(html_report(group_runs(open_runs(runs)), ReportOptions(paper=True, examples=2)))
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_one_run(browser, page, size, dark, tmp_path):
    browser.open(page, *SIZES[size], dark)
    check_quiet(browser, page)
    check_layout(browser, SIZES[size][0])
    assert browser.ask("[...document.querySelectorAll('figure')].map(f => f.id)") == FIGURES
    assert [
        i for i in browser.ask("[...document.querySelectorAll('section')].map(s => s.id)") if i in SECTIONS
    ] == SECTIONS
    shot = tmp_path / f"{size}.png"
    browser.screenshot(shot)
    assert shot.stat().st_size > 30_000


@pytest.mark.parametrize("size", SIZES)
def test_several_runs(browser, common_page, size):
    browser.open(common_page, *SIZES[size])
    check_quiet(browser, common_page)
    check_layout(browser, SIZES[size][0])
    found = browser.ask("[...document.querySelectorAll('figure')].map(f => f.id)")
    assert found == [f"g{g}-{name}" for g in (1, 2) for name in ("pareto", "cdf", "sweep")]
    assert "mean of 3" in browser.ask("document.querySelector('#g1-results').innerText")


def check_quiet(browser, page):
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.resolve().as_uri()]


def check_layout(browser, width):
    """The page is never wider than the window; every figure has a size and text that is large enough to read."""
    assert browser.ask("document.documentElement.scrollWidth") <= width
    boxes = browser.ask(
        "[...document.querySelectorAll('figure > svg')].map(s => { const b = s.getBoundingClientRect();"
        " const t = s.querySelector('text').getBoundingClientRect(); return [b.width, b.height, t.height] })"
    )
    for wide, high, letters in boxes:
        assert 250 < wide <= width
        assert high > 100
        assert letters >= 9, "the text of a figure is too small to read"
    assert (
        browser.ask(
            "[...document.querySelectorAll('figure svg text')].filter(t => { const b = t.getBBox(), v ="
            " t.ownerSVGElement.viewBox.baseVal; return t.getAttribute('transform') === null &&"
            " (b.x < -1 || b.x + b.width > v.width + 1 || b.y < -1 || b.y + b.height > v.height + 1) })"
            ".map(t => t.textContent)"
        )
        == []
    ), "text outside its figure"


def test_the_browser_would_notice(browser, tmp_path):
    """The same checks see an error, a request and a page that is too wide, where there are some."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<meta charset="utf-8"><p style="width:2000px">x</p><img src="http://127.0.0.1:9/x.png">'
        "<script>console.error('oh'); undefined_name()</script>"
    )
    browser.open(bad, *SIZES["phone"])
    assert len(browser.problems) >= 2
    assert any(re.match("http:", url) for url in browser.requests)
    assert browser.ask("document.documentElement.scrollWidth") > 390
