"""What a generated line shows: its label, all of it, and nothing of it cut off; the same in any order and process."""

import contextlib
import hashlib
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.ft2font import FT2Font
from PIL import Image

from semilla.errors import DataError, UsageError
from semilla.generating import Generated, generate, renderer
from semilla.generating.corpus import Choice, Texts, corpus_of
from semilla.generating.draws import Draws
from semilla.generating.fonts import find_fonts, load
from semilla.generating.letters import Printed
from semilla.generating.vietnamese import TONES

LOOKS = ("plain", "print", "scene", "handwriting")
VOWELS = [unicodedata.normalize("NFC", vowel + tone) for vowel in "aăâeêioôơuưy" for tone in TONES]


@pytest.fixture(scope="module")
def lines():
    return {(look, height): renderer(look=look, height=height) for look in LOOKS for height in (32, 48)}


def test_lines_are_the_same_in_any_order_and_process(lines):
    drawer = lines["handwriting", 32]
    forward = [drawer.render(index) for index in range(12)]
    backward = [drawer.render(index) for index in reversed(range(12))][::-1]
    for (one, text), (other, again) in zip(forward, backward, strict=True):
        assert text == again
        assert np.array_equal(one, other)
    code = (
        "import hashlib; from semilla.generating import generate, renderer\n"
        "print(hashlib.sha256(generate(renderer(look='handwriting'), 12, workers=0).flat).hexdigest())"
    )
    ours = hashlib.sha256(np.concatenate([one.reshape(-1) for one, _ in forward])).hexdigest()
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ours
    )


def test_two_processes_make_what_one_makes():
    drawer = renderer(look="all", seed=3)
    here, there = generate(drawer, 150, 7, workers=0), generate(drawer, 150, 7, workers=2)
    assert here.texts == there.texts
    assert here.fonts == there.fonts
    assert np.array_equal(here.flat, there.flat)
    for picture, index in zip(here, range(7, 157), strict=True):
        assert np.array_equal(picture, drawer.render(index)[0])


def test_another_seed_gives_other_lines():
    assert {renderer(seed=seed).text(0)[0] for seed in range(20)}.__len__() > 10


def test_the_pool_gives_the_same_lines_padded_with_zeros(lines):
    drawer = lines["print", 32]
    pool = Generated(drawer, 30, start=5, kept=3)
    rows = np.array([7, 0, 29, 7])
    pixels = pool[rows]
    assert pixels.dtype == pool.dtype == np.uint8
    assert pixels.shape == (4, 1, 32, pool.widths[rows].max())
    assert pool.shape == (30, 1, 32, pool.widths.max())
    for picture, row in zip(pixels[:, 0], rows, strict=True):
        expected, text = drawer.render(5 + row)
        assert text == pool.texts[row]
        assert np.array_equal(picture[:, : pool.widths[row]], expected)
        assert not picture[:, pool.widths[row] :].any()
    assert np.array_equal(pool[29], pool[rows][2][..., : pool.widths[29]])
    assert pool[:0].shape == (0, 1, 32, 0)


@pytest.mark.parametrize("height", [32, 48])
@pytest.mark.parametrize("look", LOOKS)
def test_no_ink_is_missing_or_cut_off(lines, look, height):
    """On a larger canvas, where the same map goes on, there is no more ink; and the picture follows the ink."""
    drawer = lines[look, height]
    for index in range(60):
        ink, wider = (np.asarray(drawer.ink(index, border)) for border in (0, 16))
        assert ink.shape[0] == height
        assert ink.max() > 100
        assert np.array_equal(wider[16:-16, 16:-16], ink)
        assert int(wider.sum(dtype=np.int64)) == int(ink.sum(dtype=np.int64))
        picture, text = drawer.render(index)
        assert picture.shape == ink.shape
        assert picture.shape[1] >= 4 * len(text)
        assert np.ptp(picture.astype(int)) > 25


def test_every_character_of_a_label_is_in_the_picture():
    """Without the filter: FreeType's own lookup finds a glyph with an outline, and without it the ink is another."""
    drawer = renderer(look="print", fonts=["bundled"])
    faces = [FT2Font(font.path) for font in drawer.fonts]
    pairs = set()
    for index in range(300):
        text, font = drawer.text(index)
        assert text == unicodedata.normalize("NFC", text) == " ".join(text.split())
        pairs |= {(font, one) for one in text if one != " "}
        if index < 40:
            path = drawer.fonts[font].path
            whole = bytes(load(path, 40).getmask(text))
            for place in range(len(text)):
                assert bytes(load(path, 40).getmask(text[:place] + text[place + 1 :])) != whole
    for font, one in pairs:
        assert faces[font].get_char_index(ord(one)), one
        faces[font].load_glyph(faces[font].get_char_index(ord(one)))
        assert len(faces[font].get_path()[0]), one


def test_composed_and_decomposed_texts_are_drawn_alike():
    texts = ["Đường Nguyễn Thị Minh Khai", "ngõ hẻm ỡ ặ ử"]
    one, other = (
        renderer([unicodedata.normalize(form, text) for text in texts], look="plain", mode="lines", words=(1, 9))
        for form in ("NFC", "NFD")
    )
    for index in range(6):
        assert one.text(index) == other.text(index)
        assert np.array_equal(one.render(index)[0], other.render(index)[0])


def test_a_text_is_drawn_only_in_fonts_that_have_all_of_it():
    """DejaVu Sans Mono has no ế; the sans and serif faces do."""
    drawer = renderer(["kết quả", "con cua"])
    mono = {place for place, font in enumerate(drawer.fonts) if "Mono" in font.name}
    used = {"ế": set(), "": set()}
    for index in range(300):
        text, font = drawer.text(index)
        used["ế" if "ế" in text else ""].add(font)
    assert mono
    assert not used["ế"] & mono
    assert used[""] & mono


def test_texts_no_font_has_are_left_out_and_named():
    drawer = renderer(["con cua", "mèo 猫", "trâu", "a\u200bb"], words=(1, 1))
    (warning,) = drawer.warnings()
    assert "warn[D155]" in warning
    assert "'猫' U+732B" in warning
    assert "1 text (no font has all their characters)" in warning
    assert "1 text (characters that cannot be seen)" in warning
    assert drawer.missing == ["猫"]
    assert {drawer.text(index)[0] for index in range(50)} <= {"con", "cua", "trâu", "con cua"}
    with pytest.raises(DataError, match="U\\+732B") as caught:
        renderer(["猫", "犬"])
    assert caught.value.code == "D153"


def test_a_font_that_draws_one_letter_as_another_does_not_count(tmp_path):
    """A copy of DejaVu whose table says that ế is ê, a small b its capital, and ờ a blank."""
    from fontTools.ttLib import TTFont

    from semilla.generating.fonts import covered

    source = next(font for font in find_fonts()[0] if font.name == "DejaVuSans.ttf")
    with TTFont(source.path) as font:
        for table in font["cmap"].tables:
            if table.isUnicode():
                table.cmap[ord("ế")], table.cmap[ord("b")] = table.cmap[ord("ê")], table.cmap[ord("B")]
                table.cmap[ord("ờ")] = table.cmap[ord(" ")]
        font.save(tmp_path / "poor.ttf")
    (poor,), _ = find_fonts([tmp_path / "poor.ttf"])
    assert covered(poor, "êếbBờơ a") == set("êBơ a")


def test_the_bundled_fonts_have_all_of_vietnamese():
    from semilla.generating.fonts import covered

    letters = {*VOWELS, "đ"} | {one.upper() for one in (*VOWELS, "đ")}
    assert len(letters) == 2 * (12 * 6 + 1)
    full = [font for font in find_fonts()[0] if covered(font, letters) == letters]
    assert len(full) == 8


@pytest.mark.parametrize("look", ["scene", "handwriting"])
def test_a_slanted_map_keeps_the_box_inside(look):
    from semilla.generating.looks import find
    from semilla.generating.mesh import place

    for index in range(200):
        draws = Draws(1, "test", index)
        width, height = draws.whole(1, 900), draws.whole(1, 40)
        mesh = place(width, height, 32, find(look)[0], draws, 0, 0)
        assert (mesh.x[:, 0] < 0).all()
        assert (mesh.x[:, -1] > width).all()
        assert (mesh.y[0] < 0).all()
        assert (mesh.y[2] > height).all()
        assert (np.diff(mesh.x, axis=1) > 0).all()
        assert (np.diff(mesh.y, axis=0) > 0).all()


# Texts


@pytest.mark.parametrize("name", ["vietnamese", "english", "digits"])
def test_built_in_texts_keep_what_was_asked(name):
    drawer = renderer(name, mode="words", max_length=12, case="upper")
    texts = [drawer.text(index)[0] for index in range(200)]
    assert all(0 < len(text) <= 12 and text == text.upper() for text in texts)
    assert len(set(texts)) > 30


def test_words_of_a_line_are_as_many_as_asked():
    texts = Texts(corpus_of(["một hai ba bốn năm sáu bảy"]), Choice(words=(2, 4)))
    for index in range(50):
        text = texts.draw(Draws(0, "test", index))
        assert len(text.split()) <= 4
        assert text in "một hai ba bốn năm sáu bảy"


def test_balance_draws_rare_characters_more_often():
    many = ["a", "b", "ab", "ba", "aa", "bb", "aab", "abb", "quỹ"]
    counts = []
    for balance in (0.0, 1.0):
        texts = Texts(corpus_of(many), Choice(mode="words", words=(1, 1), balance=balance))
        counts.append(sum(texts.draw(Draws(0, "test", index)) == "quỹ" for index in range(400)))
    assert counts[1] > 3 * counts[0] > 0
    drawer = renderer(balance=1.0)
    seen = set("".join(drawer.text(index)[0] for index in range(3000)))
    assert not set(VOWELS) - seen


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_text_is_drawn_as_its_label_or_refused(texts):
    drawer = None
    with contextlib.suppress(DataError):  # nothing to see, or nothing that a font has
        drawer = renderer(texts, look="plain")
    if drawer is None:
        return
    picture, text = drawer.render(0)
    assert text == " ".join(unicodedata.normalize("NFC", text).split())
    assert picture.shape[0] == 32


@pytest.mark.parametrize(
    "options",
    [{"height": 8}, {"look": "nice"}, {"words": (3, 2)}, {"balance": 2}, {"case": "x"}, {"mode": "x"}, {"seed": -1}],
)
def test_an_option_out_of_range_is_refused(options):
    with pytest.raises(UsageError) as caught:
        renderer(**options)
    assert caught.value.code == "U133"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "a.txt", "D151"),
        (b" \n\t\n", "a.txt", "D151"),
        ("\u200b\n".encode(), "a.txt", "D151"),
        (b"\x89PNG\xff\xfe\x00", "a.txt", "D150"),
        (b"abc\0def", "a.txt", "D150"),
        (b"name,size\na,1\n", "a.csv", "D152"),
        (b'{"name": "a", "size": "b"}\n', "a.jsonl", "D152"),
    ],
)
def test_a_corpus_that_is_none_is_refused(tmp_path, content, name, code):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        renderer(tmp_path / name)
    assert caught.value.code == code
    assert name in str(caught.value)


def test_columns_are_found_or_named(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"con, cua"\n2,trâu\n', "utf-8")
    (tmp_path / "b.jsonl").write_text('{"id": "1", "câu": "con cua"}\n', "utf-8")
    assert {renderer(tmp_path / "a.csv", words=(1, 9)).text(index)[0] for index in range(30)} >= {"con, cua", "trâu"}
    assert renderer(tmp_path / "b.jsonl", text_column="câu").text(0)[0] == "con cua"
    with pytest.raises(DataError, match="câu") as caught:
        renderer(tmp_path / "b.jsonl", text_column="tên")
    assert caught.value.code == "D152"
    with pytest.raises(UsageError) as caught:
        renderer("vietnamese", text_column="text")
    assert caught.value.code == "U132"


def test_a_file_that_is_no_font_is_refused(tmp_path):
    (tmp_path / "a\nb.ttf").write_bytes(b"no font")
    with pytest.raises(DataError, match=r"a\\nb.ttf") as caught:
        find_fonts([tmp_path / "a\nb.ttf"])
    assert caught.value.code == "D154"
    assert "\n" not in caught.value.message
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError) as caught:
            find_fonts([place])
        assert caught.value.code == "U131"
    _, passed = find_fonts([tmp_path, "bundled"])
    assert len(passed) == 1


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    from semilla.generating import fonts

    monkeypatch.setattr(fonts.features, "check", lambda name: False)
    with pytest.raises(UsageError, match="raqm") as caught:
        find_fonts()
    assert caught.value.code == "U135"
    monkeypatch.setitem(sys.modules, "fontTools", None)
    with pytest.raises(UsageError, match="fontTools") as caught:
        find_fonts()
    assert (caught.value.code, caught.value.fix) == ("U130", "pip install 'semilla[text]'")


def test_the_box_of_a_text_holds_its_ink():
    path = next(font.path for font in find_fonts()[0] if "Oblique" in font.name)
    for text in ("f", "j", "Ầgj", "AV ỹ"):
        letters = Printed(text, path, 30)
        canvas = Image.new("L", (400, 200))
        canvas.paste(letters.draw(), (100, 50))
        box = canvas.getbbox()
        assert box[0] >= 102
        assert box[1] >= 52
        assert box[2] <= 102 + letters.width
        assert box[3] <= 52 + letters.height


def test_a_picture_has_the_frames_that_its_text_needs():
    text = "lllliiil"  # 8 letters, and 5 blanks between equal ones
    narrow = [font.path for font in find_fonts()[0] if font.name == "DejaVuSans.ttf"]
    drawer = renderer([text], look="plain", height=16, fonts=narrow, words=(1, 1))
    assert drawer.render(0)[0].shape[1] == 4 * (len(text) + 5)
    ink, wider = (np.asarray(drawer.ink(0, border)) for border in (0, 16))
    assert wider.sum(dtype=int) == ink.sum(dtype=int) > 0
