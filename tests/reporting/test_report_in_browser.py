"""The report in headless Chromium: phone and desktop, light and dark, offline, without a word on the console."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fake_run import FakeRun

from semilla.reporting.run_report import report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser test")

LONG = "a_name_that_never_ends_and_has_no_place_to_break_" * 3


@pytest.fixture(scope="module")
def browser():
    """Chromium as the system or playwright has it; the tests are skipped where there is none."""
    with playwright.sync_playwright() as starter:
        found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        if not found and not Path(starter.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed: no browser test")
        chromium = starter.chromium.launch(executable_path=found or None, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def reports(reported, tmp_path_factory):
    """A usual report, and one with names that are too long for any place."""
    folder = tmp_path_factory.mktemp("long")
    fake = FakeRun(
        classes=tuple(f"{LONG}{number}" for number in range(12)),
        sizes={"labeled": 24, "unlabeled": 60, "test": 60},
        paths=f"{LONG}{{}}.png".format,
        word="cannot tell",
    )
    fake.source = str(fake.arrays(folder / "photos.npz"))
    return {"usual": reported[0] / "report.html", "long": report(fake.write(folder / "run"))}


@pytest.mark.parametrize("which", ["usual", "long"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_in_a_browser(browser, reports, which, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url[:100]))
    page.goto(reports[which].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [reports[which].as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && "
    outside += "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + ' ' + e.className)"
    assert page.evaluate(outside) == []
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
    page.close()


@pytest.mark.parametrize("which", ["usual", "long"])
def test_on_a_phone_the_table_of_classes_is_whole_or_shows_that_it_goes_on(browser, reports, which):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(reports[which].as_uri())
    table = page.locator(".scroll", has_text="precision").first
    over = table.evaluate("element => element.scrollWidth - element.clientWidth")
    assert which == "long" or over <= 0
    assert "local" in table.evaluate("element => getComputedStyle(element).backgroundAttachment")
    lines = page.locator(".name").evaluate_all("all => all.map(e => [e.textContent, e.getClientRects()[0].height])")
    assert which == "long" or all(height < 30 for _, height in lines), lines
    page.close()


def test_look_alikes_stand_beside_each_other(browser, reports):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(reports["usual"].as_uri())
    tops = "all => all.map(figure => [...figure.querySelectorAll('img')].map(e => e.getBoundingClientRect().top))"
    pairs = page.locator("figure.two").evaluate_all(tops)
    assert len(pairs) == 6
    assert all(left == right for left, right in pairs)
    page.close()


def luminance(colour):
    """Relative luminance (WCAG 2) of ``rgb(r, g, b)``."""
    values = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ink_and_data_stand_out_from_the_ground_in_both_schemes(browser, reports, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.goto(reports["usual"].as_uri())
    ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    ink = page.evaluate("[...document.querySelectorAll('svg text')].map(e => getComputedStyle(e).fill)")
    lines = page.evaluate(
        "[...document.querySelectorAll('svg path')].map(e => getComputedStyle(e))"
        ".filter(s => s.fill === 'none' && s.stroke.startsWith('rgb(') && s.strokeOpacity > 0.5).map(s => s.stroke)"
    )
    page.close()

    def contrast(colour):
        low, high = sorted((ground, luminance(colour)))
        return (high + 0.05) / (low + 0.05)

    assert ink
    assert lines
    assert min(map(contrast, set(ink))) >= 7
    assert min(map(contrast, set(lines))) >= 3  # WCAG 2.1, 1.4.11: graphical objects
