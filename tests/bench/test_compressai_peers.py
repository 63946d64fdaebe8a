"""CompressAI as a peer, with a package in its place that has its names and next to no arithmetic."""

from __future__ import annotations

import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from enfold.bench import compressai_peers, peers, plots, report, samples, table
from enfold.bench.compressai_peers import NAME, UNTRAINED
from enfold.bench.images import bench_images, medium
from enfold.bench.points import PointFile
from enfold.bench.running import Plan
from enfold.errors import UsageError
from enfold.testing import sample

SMALL, LARGE = UNTRAINED
FILE = f"{NAME}-3-0123abcd.pth.tar"


class Network(nn.Module):
    """Deflates the pixels; `g_a` and `h_s` are there to be set, `gain` to be loaded."""

    def __init__(self, channels: int, latents: int) -> None:
        super().__init__()
        self.g_a = nn.Sequential(nn.Conv2d(3, channels, 16, 16), nn.Conv2d(channels, latents, 1))
        self.h_s = nn.Sequential(nn.Conv2d(1, 2 * latents, 1))
        self.gain = nn.Parameter(torch.ones(()))
        self.updated = False

    @classmethod
    def from_state_dict(cls, state):
        network = cls(2, 2)
        network.load_state_dict(state)
        return network

    def update(self) -> None:
        self.updated = True

    def compress(self, pixels):
        assert self.updated and not self.training and torch.is_inference_mode_enabled()
        self.sides = pixels.shape[-2:]
        return {"strings": [[zlib.compress((pixels * 255).round().byte().numpy().tobytes())], [b"side"]]}

    def decompress(self, strings, shape):
        (first,), (second,) = strings
        assert second == b"side"
        sides = [64 * side for side in shape]
        pixels = np.frombuffer(zlib.decompress(first), np.uint8).reshape(1, 3, *sides)
        return {"x_hat": torch.from_numpy(pixels.copy()) / 255 * self.gain}


@pytest.fixture
def package(monkeypatch, tmp_path):
    """CompressAI installed, torch's hub folder empty; returns that folder."""
    image, loading = ModuleType("compressai.zoo.image"), ModuleType("compressai.zoo.pretrained")
    image.model_architectures = {NAME: Network}
    image.model_urls = {NAME: {"mse": {3: f"https://example.org/{FILE}", 5: "https://example.org/other.pth.tar"}}}
    loading.load_pretrained = dict
    zoo = ModuleType("compressai.zoo")
    zoo.image, zoo.pretrained = image, loading
    for module in (ModuleType("compressai"), zoo, image, loading):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(compressai_peers, "installed", lambda name: "1.2.8")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    caches = peers.coder, compressai_peers._network
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "checkpoints"
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "pictures"
    made.mkdir()
    Image.fromarray(sample(70, 90)).save(made / "a.png")
    return made


def plan(folder, out, **changes) -> Plan:
    qualities = dict.fromkeys(("jpeg", "webp"), (10.0, 30.0, 60.0, 90.0))
    return replace(Plan(folder, out, (), ("jpeg", "webp", SMALL), "jpeg", qualities), **changes)


@pytest.mark.parametrize("name", compressai_peers.PEERS)
def test_without_the_package_the_extra_is_named(name, monkeypatch):
    monkeypatch.setattr(compressai_peers, "installed", lambda name: None)
    with pytest.raises(UsageError, match=rf"{name} needs CompressAI: pip install 'enfold\[bench,compressai\]'"):
        compressai_peers.coder(name)


def test_without_weights_it_says_where_they_go_and_what_can_be_had_instead(package):
    with pytest.raises(UsageError) as refused:
        peers.coder(NAME)
    for said in (FILE, str(package), "TORCH_HOME", SMALL, LARGE):
        assert said in str(refused.value)


def test_published_weights_are_used_where_they_lie(package):
    package.mkdir()
    torch.save({**Network(2, 2).state_dict(), "gain": torch.tensor(0.5)}, package / FILE)
    peer, picture = peers.coder(NAME), sample(70, 90)
    assert peer.qualities == (3.0,) and "0123abcd" in peer.version
    np.testing.assert_allclose(peer.decode(peer.encode(picture, 3.0)), picture / 2, atol=0.6)


@pytest.mark.parametrize("name", UNTRAINED)
def test_a_file_is_whole_and_of_any_size(package, name):
    peer, picture = peers.coder(name), sample(70, 90)
    data = peer.encode(picture, 0.0)
    assert compressai_peers._network(UNTRAINED[name]).sides == (128, 128)
    np.testing.assert_array_equal(peer.decode(data), picture)


def test_untrained_latents_spread_as_their_side_information_says(package):
    network = compressai_peers._network(128)
    scales = network.h_s[-1].bias[:192]
    assert not network.h_s[-1].weight.any() and not network.h_s[-1].bias[192:].any()
    with torch.no_grad():
        spread = network.g_a(compressai_peers._pictures()).std((0, 2, 3))
    assert 0.5 < (spread / scales).median() < 2 and scales[0] > 1 and scales[-1] < 0.01


def test_what_is_only_timed_has_speed_and_no_curve(package, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("enfold.bench.running.workers", lambda *_, **__: ThreadPoolExecutor(1))
    pytest.importorskip("bjontegaard", reason="bjontegaard is not installed: pip install 'enfold[bench]'")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'enfold[bench]'")
    results = bench_images(plan(folder, tmp_path / "out"), ["psnr_db"])
    curve = results.curve(SMALL)
    assert curve.points == () and curve.speed.encode > 0 and curve.memory.peak_mb > 1
    assert {bd.codec for bd in results.bd_rates} == {"webp"}
    assert any("untrained: only speed and memory are measured" in note for note in results.notes)
    table.show(results)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith(curve.label)
              and ":" not in line]
    assert "anchor" not in row and "%" not in row
    drawn = [path for path in plots.draw(results, tmp_path) if path.suffix == ".svg"]
    compared = samples.comparisons(results, medium(), folder, PointFile(tmp_path / "out" / "points.jsonl"))
    labels = {version.label for comparison in compared for version in comparison.versions}
    assert labels == {"original", "JPEG", "WebP"}
    page = report.page(results, drawn, compared)
    assert f"for JPEG, WebP, {curve.label}" not in page and page.count(curve.label) == 2


@pytest.mark.parametrize(("changes", "said"), [
    ({"timing": False}, f"{SMALL} can only be timed: leave it out of --peers, or --no-timing"),
    ({"anchor": SMALL}, f"the anchor '{SMALL}' is not among jpeg, webp"),
    ({"qualities": {SMALL: (1.0,)}}, f"qualities for {SMALL}, which this bench does not measure"),
])
def test_what_is_only_timed_is_not_asked_for_more(package, folder, tmp_path, changes, said):
    with pytest.raises(UsageError, match=said):
        bench_images(plan(folder, tmp_path / "out", **changes), ["psnr_db"])


def test_the_package_itself_is_understood():
    pytest.importorskip("compressai", reason="compressai is not installed: pip install 'enfold[compressai]'")
    peer, picture = peers.coder(SMALL), sample(128, 192)
    data = peer.encode(picture, 0.0)
    assert peer.decode(data).shape == picture.shape
    assert 0.2 < 8 * len(data) / (128 * 192) < 2
