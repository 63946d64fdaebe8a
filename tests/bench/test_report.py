"""What the report promises: everything in one page, at equal bytes, with words for each picture."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="plots are matplotlib's")

from enfold.bench import plots, report, samples
from enfold.bench.machine import Machine
from enfold.bench.points import PointFile
from enfold.bench.results import BdRate, Curve, CurvePoint, Data, Metric, Results, Speed
from enfold.bench.running import Coder, Medium

VOID = {"meta", "img", "input", "br", "link", "path", "use"}
SIZES = {10.0: 1000, 20.0: 2000, 40.0: 4000}


class Page(HTMLParser):
    """Its elements, and whether each that was opened was closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def picture(seed: int = 0) -> np.ndarray:
    """400×360, smooth but for a corner at the lower right."""
    y, x = np.mgrid[:360, :400]
    rgb = np.stack([127 + 60 * np.sin(x / (30 + 9 * c) + seed) * np.cos(y / 41) for c in range(3)], -1)
    rgb[300:, 320:] += np.random.default_rng(seed).normal(0, 50, (60, 80, 3))
    return rgb.clip(0, 255).astype(np.uint8)


def coder(name: str, ours: bool = False) -> Coder:
    """JPEG under another name; its bytes rise with quality."""
    def encode(rgb: np.ndarray, quality: float) -> bytes:
        out = BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=round(quality))
        return out.getvalue()

    return Coder(name, name.upper(), "1", "quality", (10, 30, 50, 70), encode,
                 lambda data: np.array(Image.open(BytesIO(data))), ours)


def curve(name: str, ours: bool = False) -> Curve:
    return Curve(name, name.upper(), "1", "quality", ours,
                 tuple(CurvePoint(q, q / 100, {"psnr_db": 30 + q / 10}) for q in (10.0, 30.0, 50.0, 70.0)),
                 Speed(50, 2.0, 3.0))


RESULTS = Results(
    "pictures", "bpp", "Mpix/s", Data("kodak & <script>", 2, "d"), (Metric("psnr_db", "PSNR, dB (RGB)"),),
    (curve("mine", ours=True), curve("theirs")), (BdRate("mine", "theirs", "psnr_db", None, -12.3, 31.0, 37.0),),
    Machine("a processor", 2, "Linux", "3.11", {"numpy": "1.26"}), "enfold bench images kodak", "2026-01-01",
    "2 pictures", ("one <note>",))


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> list[samples.Comparison]:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(2):
        Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    medium = Medium("pictures", "bpp", "Mpix/s", (".png",), (), 0.5, lambda name: coder(name, name == "mine"),
                    lambda path: np.array(Image.open(path)), np.size, lambda task: None)     # type: ignore[arg-type]
    points = PointFile(folder / "points.jsonl")
    from enfold.bench.points import Point
    from enfold.bench.running import find, task

    for path, mark in find(folder, medium)[0].items():
        for quality in (10, 30, 50, 70):
            size = len(coder("theirs").encode(medium.load(path), quality))
            t = task(path, mark, coder("theirs"), quality)
            points.add(Point(t.item, t.digest, t.codec, t.version, t.quality, size, 0.0, {}))
    return samples.comparisons(RESULTS, medium, folder, points)


@pytest.fixture(scope="module")
def html(compared, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("out")
    drawn = [path for path in plots.draw(RESULTS, out) if path.suffix == ".svg"]
    report.write(RESULTS, drawn, compared, out / "report.html")
    return (out / "report.html").read_text("utf-8")


# At equal bytes.


@pytest.mark.parametrize("sign", [1, -1])       # CRF and JPEG XL's distance fall as bytes rise
@pytest.mark.parametrize("size", [1000, 1001, 1500, 1999, 3777, 4000])
def test_smallest_file_that_is_not_smaller_is_found(sign, size):
    found = samples.at_least(size, lambda q: bytes(round(100 * sign * q)), {sign * q: n for q, n in SIZES.items()})
    assert size <= len(found) <= max(size + 2000 / 2**samples.STEPS + 1, size * samples.CLOSE)


def test_codec_that_cannot_be_so_large_gives_its_largest():
    assert len(samples.at_least(5000, lambda q: bytes(round(100 * q)), SIZES)) == 4000


def test_codec_that_cannot_be_so_small_gives_its_smallest():
    assert len(samples.at_least(3, lambda q: bytes(round(100 * q)), SIZES)) == 1000


def test_every_codec_has_a_file_not_smaller_than_ours(compared):
    assert [c.item for c in compared] == ["0.png", "0.png", "1.png", "1.png"]
    for comparison in compared:
        original, ours, theirs = comparison.versions
        assert (original.label, original.bytes, ours.ours) == ("original", None, True)
        assert ours.bytes <= theirs.bytes <= ours.bytes * 1.1
        assert re.fullmatch(r"PSNR \d\d\.\d\d dB", theirs.score)


def test_crop_is_where_the_codecs_err_most(compared):
    original = compared[0].versions[0].excerpt
    assert original.about == "320×240 pixels from 80, 120"
    assert np.array_equal(np.array(Image.open(BytesIO(original.image))), picture(0)[120:, 80:])


def test_pictures_smaller_than_a_crop_are_shown_whole():
    small = picture()[:50, :60]
    assert samples._picture_excerpts(small, [small])[0].about == "60×50 pixels from 0, 0"


def test_sounds_are_heard_and_seen():
    pytest.importorskip("soundfile", reason="FLAC is soundfile's")
    from enfold.bench.audio_peers import Sound, coder

    t = np.arange(8000) / 8000
    sound = Sound(np.stack([np.sin(440 * t), np.sin(880 * t)], 1).astype(np.float32) * 0.5, 8000)
    original, other = samples._sound_excerpts(sound, [Sound(sound.samples[:7000], 8000)])
    assert np.abs(coder("flac").decode(original.sound).samples / 2**15 - sound.samples).max() < 1e-4
    assert len(coder("flac").decode(other.sound).samples) == 8000
    assert Image.open(BytesIO(original.image)).mode == "RGBA"
    assert original.about == "the first 1.0 seconds; spectrogram from 0 to 4 kHz, upwards"


# The page.


def test_page_fetches_nothing(html):
    page = Page(html)
    assert page.open == []
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
    assert "default-src 'none'" in html
    assert "url(http" not in html


def test_every_picture_says_what_it_is(html):
    page = Page(html)
    images = page.all("img")
    assert len(images) == 4 * 3
    assert all(re.search(r"^(original|MINE, [\d,]+ bytes, PSNR|THEIRS, [\d,]+ bytes, PSNR).*: \d\.png", image["alt"])
               for image in images)
    drawings = [figure for figure in page.all("figure") if figure.get("role") == "img"]
    assert len(drawings) == len(page.all("svg")) == 2
    assert "PSNR, dB (RGB) over bpp for MINE, THEIRS" in drawings[0]["aria-label"]


def test_identifiers_of_the_drawings_do_not_clash(html):
    names = [attributes["id"] for _, attributes in Page(html).elements if "id" in attributes]
    assert len(names) == len(set(names))
    for reference in re.findall(r'url\(#([^)]*)\)|xlink:href="#([^"]*)"', html):
        assert "".join(reference) in names


def test_tables_are_the_terminals(html):
    assert '<tr class="ours"><td>MINE</td><td>-12.3 %</td><td>2.00</td><td>3.00</td>' in html
    assert "<td>THEIRS</td><td>anchor</td>" in html


def test_words_of_others_are_not_taken_for_html(html):
    assert "kodak &amp; &lt;script&gt;" in html
    assert "<li>one &lt;note&gt;</li>" in html


def test_page_without_samples_or_plots_is_whole():
    page = report.page(replace(RESULTS, bd_rates=()), [], [])
    assert "At equal bytes" not in page
    assert Page(page).all("table")


def test_players_go_along_with_their_spectrograms():
    heard = samples.Excerpt(b"png", "image/png", "the first second", b"flac")
    comparison = samples.Comparison("a.wav", "1,234 bytes", (
        samples.Version("original", False, None, "", heard),
        samples.Version("mine", True, 1234, "SI-SDR 9.0 dB", heard)))
    page = Page(report.page(replace(RESULTS, medium="sounds"), [], [comparison]))
    players = page.all("audio")
    assert [player["aria-label"] for player in players] == [
        "original: a.wav, the first second", "mine, 1,234 bytes, SI-SDR 9.0 dB: a.wav, the first second"]
    assert base64.b64decode(players[1]["src"].partition("base64,")[2]) == b"flac"
