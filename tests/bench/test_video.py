"""What the bench of films promises: one conversion, equal groups of pictures, real bytes."""

from __future__ import annotations

import sys
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from enfold.bench import video
from enfold.bench.metrics import psnr_db
from enfold.bench.running import Plan
from enfold.bench.video_peers import PEERS, Film, _rgb, _twice, coder, read_film
from enfold.errors import MediaError, UsageError

FORMATS = {name: peer.format for name, peer in PEERS.items()}


def film(frames: int = 10, height: int = 64, width: int = 96) -> Film:
    """A pattern that moves, over colours that do not."""
    y, x = np.mgrid[:height, :width]
    lumas = [(120 + 60 * np.sin((x + 2 * n) / 7) * np.cos((y - n) / 9)).round() for n in range(frames)]
    chroma = np.stack([100 + x[::2, ::2] / 3, 150 - y[::2, ::2] / 3]).round()
    return Film(np.stack([np.concatenate([luma.ravel(), chroma.ravel()]).reshape(-1, width) for luma in lumas])
                .astype(np.uint8), Fraction(25))


def planes(y: int, cb: int, cr: int) -> np.ndarray:
    """A frame of 4×4 pixels of one colour."""
    return np.repeat(np.array([y, cb, cr], np.uint8), [16, 4, 4]).reshape(6, 4)


# Colour.


@pytest.mark.parametrize(("ycc", "rgb"), [((16, 128, 128), (0, 0, 0)), ((235, 128, 128), (255, 255, 255)),
                                          ((63, 102, 240), (255, 1, 0)), ((173, 42, 26), (0, 255, 1)),
                                          ((32, 240, 118), (1, 0, 255)), ((126, 128, 128), (128, 128, 128))])
def test_colours_are_those_of_bt_709_in_limited_range(ycc, rgb):
    assert np.abs(_rgb(planes(*ycc), 4, 4).astype(int) - rgb).max() <= 1


def test_chroma_is_widened_as_worked_by_hand():
    # columns on and half way between the old ones, rows a quarter off them
    assert _twice(np.array([[0.0, 8], [16, 24]])).tolist() == [
        [0, 4, 8, 8], [4, 8, 12, 12], [12, 16, 20, 20], [16, 20, 24, 24]]


def test_luma_of_rgb_is_the_luma_that_it_came_from():
    grey = Film(np.stack([planes(y, 128, 128) for y in range(16, 236)]), Fraction(25))
    for y, frame in zip(range(16, 236), grey.rgb(), strict=True):
        assert video._luma(frame) == pytest.approx(y, abs=0.5)


# Metrics.


@pytest.fixture
def one_thread():
    """As the bench's workers have it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_psnr_is_the_mean_over_frames():
    frames = [np.zeros((4, 4, 3), np.uint8)] * 2
    others = [np.full((4, 4, 3), error, np.uint8) for error in (5, 50)]
    expected = (psnr_db(frames[0], others[0]) + psnr_db(frames[1], others[1])) / 2
    assert video.METRICS["psnr_db"].score(frames, others) == pytest.approx(expected)


@pytest.mark.usefixtures("one_thread")
def test_vmaf_prefers_less_noise_and_does_not_depend_on_the_chunks(monkeypatch):
    pytest.importorskip("vmaf_torch", reason="VMAF is vmaf-torch's")
    monkeypatch.setattr(video, "CHUNK", 4)
    original = list(film(3, 96, 96).rgb())
    noise = np.random.default_rng(0).normal(0, 1, (3, 96, 96, 3))
    little, much = ([(a + level * n).clip(0, 255).astype(np.uint8) for a, n in zip(original, noise, strict=True)]
                    for level in (3, 15))
    scores = [video.vmaf(original, other) for other in (original, little, much)]
    assert scores[0] > 95
    assert scores == sorted(scores, reverse=True)
    monkeypatch.setattr(video, "CHUNK", 2)
    assert video.vmaf(original, little) == pytest.approx(scores[1], abs=1e-3)


# Codecs.


@pytest.fixture(scope="module", autouse=True)
def _av():
    pytest.importorskip("av", reason="films and their codecs are PyAV's")


@pytest.mark.parametrize("name", PEERS)
def test_key_frames_come_every_gop_and_nowhere_else(name):
    import av

    by = coder(name, 4)
    data = by.encode(film(10), 30)
    with av.open(BytesIO(data), format=FORMATS[name]) as file:
        keys = [number for number, packet in enumerate(file.demux(video=0)) if packet.is_keyframe]
    assert keys == [0, 4, 8]
    assert len(by.decode(data).planes) == 10


@pytest.mark.parametrize("name", PEERS)
def test_frames_come_back_in_order_and_better_for_more_bytes(name):
    original, by = film(6), coder(name, 6)
    files = [by.encode(original, crf) for crf in (12, 40)]
    assert len(files[0]) > len(files[1])
    assert files[0] == by.encode(original, 12)
    scores = []
    for data in files:
        decoded = by.decode(data)
        assert decoded.planes.shape == original.planes.shape
        scores.append([psnr_db(a, b) for a, b in zip(original.rgb(), decoded.rgb(), strict=True)])
    assert min(scores[0]) > 37
    assert np.mean(scores[0]) > np.mean(scores[1])


@pytest.mark.parametrize("name", PEERS)
def test_bytes_hold_no_settings(name):
    data = coder(name, 4).encode(film(4), 30)
    for text in (b"x264", b"x265", b"options", b"SVT", b"Lavc"):
        assert text not in data


# Films.


def write(path: Path, frames: int, height: int, width: int, pix_fmt: str = "yuv444p") -> None:
    import av

    rng = np.random.default_rng(5)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for _ in range(frames):
            rgb = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:height, :width]), "rgb24")))
        file.mux(stream.encode(None))


def test_odd_films_lose_their_last_row_and_column(tmp_path):
    write(tmp_path / "odd.mkv", 3, 41, 67)
    found = read_film(tmp_path / "odd.mkv")
    assert (len(found.planes), found.height, found.width, found.frame_rate) == (3, 40, 66, 25)
    assert next(found.rgb()).shape == (40, 66, 3)
    assert len(read_film(tmp_path / "odd.mkv", 2).planes) == 2


def test_full_range_becomes_limited_range(tmp_path):
    write(tmp_path / "full.mkv", 1, 64, 64, "bgr0")
    frame = read_film(tmp_path / "full.mkv").planes
    assert frame.min() >= 16
    assert frame.max() <= 240


def test_what_is_no_film_is_refused_in_words(tmp_path):
    (tmp_path / "text.mp4").write_bytes(b"no film")
    with pytest.raises(MediaError, match=r"text\.mp4: not a film that can be read"):
        read_film(tmp_path / "text.mp4")


def test_missing_pyav_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    coder.cache_clear()
    with pytest.raises(UsageError, match=r"needs PyAV.*pip install 'enfold\[bench\]'"):
        coder("svtav1", 8)


# The whole bench.


def test_bench_of_films_measures_what_can_be_and_says_what_not(tmp_path):
    pytest.importorskip("bjontegaard", reason="BD-rates are bjontegaard's")
    folder = tmp_path / "films"
    folder.mkdir()
    write(folder / "noise.mkv", 4, 176, 176)
    write(folder / "tiny.mkv", 4, 64, 64)
    plan = Plan(folder, tmp_path / "out", (), ("x264-veryfast", "svtav1"), "x264-veryfast",
                {"x264-veryfast": (20, 40), "svtav1": (40,)}, timing=False)
    results = video.bench_video(plan, ["psnr_db", "ms_ssim"], frames=3, gop=3)
    assert (results.medium, results.rate_unit, results.data.items) == ("films", "bpp", 1)
    low, high = results.curve("x264-veryfast").points
    assert low.rate < high.rate
    assert low.scores["psnr_db"] < high.scores["psnr_db"]
    assert "GOP 3" in results.curve("svtav1").settings
    assert results.notes == ("the first 3 frames of each film", "tiny.mkv is left out: 64×64 pixels are too few for "
                             "MS-SSIM: choose other --metrics")
    assert str(tmp_path) not in (tmp_path / "out" / "results.json").read_text()
    with pytest.raises(UsageError, match="gop is 0"):
        video.bench_video(plan, ["psnr_db"], gop=0)
