"""The frame of every page: what may stand in it, what must, and that names stay text."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from jinja2 import ChoiceLoader, DictLoader
from jinja2.exceptions import UndefinedError
from PIL import Image

from semilla.reporting import page

BODY = """{% extends "base.html" %}{% from "macros.html" import bar %}
{% block title %}{{ name }}{% endblock %}
{% block lead %}<p title="{{ name }}">{{ [name, name] | join(", ") }}</p>{% endblock %}
{% block content %}{{ bar(share) }}<p class="x">{{ name }}</p><p>{{ 3 }} {{ none }}</p>{% endblock %}"""

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "a\nb\r\u202egnp.exe\u2066\x1b[31m",
    "caf\udce9.jpg",
    "{{ 7 * 7 }}{% raw %}",
    "</title></style></details>",
    "javascript:alert(1)",
]


class Elements(HTMLParser):
    """Every start tag with its attributes' names, and the text between."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.values, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.values += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def small(monkeypatch):
    """A page of a few lines, beside the real templates."""
    environment = page._environment()
    monkeypatch.setattr(environment, "loader", ChoiceLoader([environment.loader, DictLoader({"small.html": BODY})]))
    yield lambda name, share=0.25: page.render("small.html", name=name, share=share)
    environment.cache.clear()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_wherever_it_stands(small, name):
    plain, hostile = Elements(small("plain")), Elements(small(name))
    assert hostile.tags == plain.tags
    shown = page.clean(name)
    assert f"{shown}, {shown}" in hostile.text
    assert ("p", "title", shown) in hostile.values
    assert not re.search("[\u202a-\u202e\u2066-\u2069\udc80-\udcff\x1b\r]", small(name))
    small(name).encode()


def test_the_page_loads_nothing_and_runs_nothing(small):
    found = Elements(small("x"))
    policies = [value for tag, name, value in found.values if (tag, name) == ("meta", "content") and "default" in value]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base"}
    assert {value for _, name, value in found.values if name in ("src", "href", "action")} == {"data:,"}
    assert "http" not in small("x").replace("http-equiv", "")
    assert "url(" not in small("x")
    assert "@import" not in small("x")
    assert all(not name.startswith("on") for _, name, _ in found.values)


def test_both_color_schemes_phone_and_print_are_provided_for(small):
    text = small("x")
    for needed in ("prefers-color-scheme: dark", "@media print", "width=device-width", "color-scheme"):
        assert needed in text


def test_a_share_becomes_a_bar_and_a_missing_variable_an_error(small):
    assert 'style="width:25.0%"' in small("x")
    with pytest.raises(UndefinedError):
        page.render("small.html", name="x")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The difference is -4.7 points (-8.4 to -1.3).", "The difference is −4.7 points (−8.4 to −1.3)."),
        ("-.5 and +2.0", "−.5 and +2.0"),
        (
            "fixmatch-0, 3-4, 1e-05, --seed, --8, 2026-11-25, a - b",
            "fixmatch-0, 3-4, 1e-05, --seed, --8, 2026-11-25, a - b",
        ),
    ],
)
def test_only_hyphens_that_are_minus_signs_become_such(text, shown):
    assert page.minus(text) == shown
    assert page.minus(shown) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("images/t183.png", "images/t183.png"),
        ("images/img 285.png", "imag…mg 285.png"),
        ("x" * 200 + "\u202egnp.exe", "xxxx…02egnp.exe"),
    ],
)
def test_a_long_name_is_cut_in_the_middle_and_cleaned_first(name, shown):
    assert page.shortened(name) == shown
    assert len(page.shortened(name)) <= page.SHORT


def test_the_title_of_a_short_name_is_text(small, monkeypatch):
    name = HOSTILE[1] * 3
    line = """<code title="{{ name }}">{{ name | shortened }}</code>"""
    text = page._environment().from_string(line).render(name=name)
    found = Elements(text)
    assert found.tags == [("code", ("title",))]
    assert ("code", "title", name) in found.values
    assert "".join(found.text) == page.shortened(name)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (3, 400, 100), (1, 1, 300)])
def test_a_thumbnail_is_a_small_picture_encoded_anew(channels, height, width):
    ramp = np.linspace(0, 255, height * width).reshape(height, width)
    picture = np.stack([ramp] * channels).astype(np.uint8)
    uri = page.thumbnail(picture)
    kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", uri).groups()
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        assert shown.format.lower() == kind
        scale = min(1, 96 / max(height, width))
        assert shown.size == (max(1, round(width * scale)), max(1, round(height * scale)))
        if scale == 1:
            array = np.asarray(shown.convert("RGB" if channels == 3 else "L"), np.int64)
            assert abs(array.reshape(height, width, -1)[..., 0] - picture[0]).max() <= 12


def test_a_noisy_thumbnail_is_a_jpeg_and_a_flat_one_a_png():
    noise = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)
    assert page.thumbnail(noise).startswith("data:image/jpeg;")
    assert page.thumbnail(np.full((3, 96, 96), 7, np.uint8)).startswith("data:image/png;")


def test_colors_keep_their_channels():
    red = np.zeros((3, 8, 8), np.uint8)
    red[0] = 255
    data = base64.b64decode(page.thumbnail(red).partition(",")[2])
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.convert("RGB").getpixel((4, 4))[0] > 250
        assert shown.convert("RGB").getpixel((4, 4))[1] < 5


def test_only_pictures_of_two_kinds_become_images():
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        page.image(b"<svg onload=alert(1)>")
