"""Codecs of sound: the conformance kit and proof that it can fail, exactness, golden files, and what is their own."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import enfold
from enfold.codecs.walloc_sound_latents import CONFIGS, from_grid, to_grid
from enfold.container import Header, Section, SectionKind, pack, peek, unpack
from enfold.errors import BitstreamError, FingerprintError, UsageError
from enfold.geometry import AudioGeometry
from enfold.salvage import DamageWarning
from enfold.sound_codec import ResamplingWarning
from enfold.sounds import Sound
from enfold.testing import VARIATIONS, symbols_hash, symbols_in_process
from enfold.testing_sounds import CHECKS, sample_sound

pytest.importorskip("soundfile", reason="sounds are read by soundfile")
GOLDEN = Path(__file__).parent.parent / "golden"
CASES = (("usual", 3000, None, 60), ("coarse", 9000, None, 35), ("mono", 2000, 1, 90), ("sample", 1, None, 100))


def usual(codec, count: int, channels: int | None = None, dtype: str = "int16", seed: int = 0) -> Sound:
    half = codec.latent_codec
    return sample_sound(count, channels or half.sound_channels, half.rates_hz[2], dtype, seed)


@pytest.fixture
def one_thread():
    """Makes torch keep to one thread: what is small is no work for a team, which waits for each other."""
    threads = torch.get_num_threads()
    yield lambda: torch.set_num_threads(1)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_codec_conforms(sound_codec, check, one_thread):
    if "rates" in check.__name__:
        pytest.importorskip("torchaudio", reason="resampling is torchaudio's")
    if "estimated" in check.__name__:
        one_thread()
    check(sound_codec)


class _Broken:
    """A codec that is right but for one method."""

    def __init__(self, codec, **methods):
        self._codec, self._methods = codec, methods

    def __getattr__(self, name):
        return self._methods.get(name) or getattr(self._codec, name)

    def __repr__(self):
        return "codec" if "repr" in self._methods else repr(self._codec)


def _faults(codec):
    counter = iter(range(10**6))
    mono = Sound(np.zeros((5, 1), np.int16), 8000)

    def silently(data, *, allow_partial=False, **options):
        try:
            return codec.decode(data, **options)
        except BitstreamError:
            if not allow_partial:
                raise
            return mono

    return {
        "round_trip": {"decode": lambda data, **_: mono},
        "other_rates": {"decode": lambda data, **_: mono},
        "too_many_channels": {"encode": lambda media, **_: b""},
        "quality_orders": {"encode": lambda media, **_: codec.encode(media)},
        "quiet": {"decode": lambda data, **_: Sound(0 * codec.decode(data).samples, 8000)},
        "deterministic": {"encode": lambda media, **_: codec.encode(
            Sound(media.samples[next(counter):], media.rate_hz))},
        "latents": {"latents": lambda source, quality=9: codec.latents(
            source if isinstance(source, bytes) else Sound(source.samples // 2, source.rate_hz), quality=quality)},
        "bad_quality": {"encode": lambda media, **_: codec.encode(media)},
        "limits": {"decode": lambda data, **_: codec.decode(data)},
        "a_part": {"decode": lambda data, **_: codec.decode(data)},
        "a_damaged_section": {"decode": silently},
        "repr": {"repr": True},
        "every_damage": {"decode": lambda data, **_: None},
    }


@pytest.mark.parametrize("check", [c for c in CHECKS if "estimated" not in c.__name__],
                         ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_kit_catches_a_fault_of_each_kind(sound_codec, check):
    if "rates" in check.__name__:
        pytest.importorskip("torchaudio", reason="resampling is torchaudio's")
    fault = next(fault for name, fault in _faults(sound_codec).items() if name in check.__name__)
    with pytest.raises((AssertionError, ValueError)):
        check(_Broken(sound_codec, **fault))


# Exactness.


@pytest.fixture(scope="module")
def written(sound_codec, tmp_path_factory):
    """Files of several lengths and qualities, and the symbols that their encoder saw."""
    folder = tmp_path_factory.mktemp("exact")
    paths, hashes = [], []
    columns = sound_codec.latent_codec.block * (sound_codec.latent_codec.columns + 30)
    for number, (count, quality) in enumerate([(1, 50), (5001, 10), (40000, 75), (columns, 30), (9000, 100)]):
        sound = usual(sound_codec, count, seed=number)
        path = folder / f"{number}.enf"
        path.write_bytes(sound_codec.encode(sound, quality=quality))
        paths.append(path)
        hashes.append(symbols_hash(sound_codec.latents(sound, quality=quality).symbols))
    return paths, hashes


@pytest.mark.parametrize("variation", VARIATIONS)
def test_symbols_are_the_same_in_another_process_under(written, variation):
    paths, hashes = written
    assert symbols_in_process(paths, variation) == hashes


def test_latents_are_read_without_torch(written):
    program = ("import sys, enfold; enfold.latents(open(sys.argv[1], 'rb').read()); "
               "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", program, str(written[0][3])], check=False).returncode == 0


def test_bytes_do_not_depend_on_torch_threads(sound_codec):
    sound, threads = usual(sound_codec, 50000), torch.get_num_threads()
    try:
        files = set()
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            files.add(sound_codec.encode(sound))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert len(files) == 1


# Golden files.


def test_shipped_weights_have_golden_files(sound_codec, pytestconfig):
    where = GOLDEN / sound_codec.name / sound_codec.fingerprint.hex()
    if pytestconfig.getoption("--rewrite-golden") and not where.exists():
        where.mkdir(parents=True)
        hashes = {}
        for name, count, channels, quality in CASES:
            data = sound_codec.encode(usual(sound_codec, count, channels), quality=quality)
            (where / f"{name}.enf").write_bytes(data)
            hashes[name] = symbols_hash(enfold.latents(data).symbols)
        (where / "symbols.json").write_text(json.dumps(hashes, indent=1) + "\n")
    assert sorted(p.stem for p in where.glob("*.enf")) == sorted(name for name, *_ in CASES), \
        f"{sound_codec!r} has no golden files: run pytest --rewrite-golden and say why in CHANGELOG.md"


@pytest.mark.parametrize("path", sorted(path for name in CONFIGS for path in (GOLDEN / name).rglob("*.enf")),
                         ids=lambda p: f"{p.parts[-3]}/{p.stem}")
def test_golden_file_gives_its_symbols(path):
    data = path.read_bytes()
    expected = json.loads((path.parent / "symbols.json").read_text())[path.stem]
    assert symbols_hash(enfold.latents(data).symbols) == expected
    count, channels = next(case[1:3] for case in CASES if case[0] == path.stem)
    codec = enfold.load(path.parts[-3])
    decoded = enfold.decode(data)
    assert decoded.samples.shape == (count, channels or codec.latent_codec.sound_channels)
    original = usual(codec, count, channels).samples.astype(float)
    if count > 1:
        assert np.square(decoded.samples - original).mean() < np.square(original).mean()     # nearer than silence


# What is their own.


def test_a_latent_has_its_place_in_the_grid():
    for config in CONFIGS.values():
        symbols = np.arange(config.latents * 5).reshape(config.latents, 5)
        grid = to_grid(symbols, config)
        assert grid.shape == (config.sides, config.rows, 5)
        np.testing.assert_array_equal(from_grid(grid, config), symbols)
        np.testing.assert_array_equal(grid[0], symbols[:config.rows])
        assert grid.sum() == symbols.sum()


def test_sections_join_without_a_seam(sound_codec):
    """Across the border of two sections the error is no larger than elsewhere."""
    half = sound_codec.latent_codec
    count, random = half.block * (2 * half.columns), np.random.default_rng(0)
    steady = sum(np.sin(np.arange(count) * pitch + 1) for pitch in (0.01, 0.023, 0.047))[:, None] * 0.05
    noise = random.normal(0, 0.01, (count, half.sound_channels))
    sound = Sound((steady + noise).astype(np.float32), half.rates_hz[2])
    missed = np.square(sound_codec.decode(sound_codec.encode(sound)).samples - sound.samples).sum(1)
    border = half.columns * half.block
    near = missed[border - half.block:border + 3 * half.block].mean()
    assert near < 1.5 * missed.mean()


def test_mono_is_one_channel_in_fewer_bytes(sound_codec):
    if sound_codec.latent_codec.sound_channels < 2:
        pytest.skip("takes one channel only")
    both = usual(sound_codec, 40000)
    one = Sound(both.samples[:, :1], both.rate_hz)
    assert len(sound_codec.encode(one)) < len(sound_codec.encode(both))
    assert sound_codec.decode(sound_codec.encode(one)).samples.shape == (40000, 1)


def test_files_and_sounds_are_coded_alike(sound_codec, tmp_path):
    from enfold.sounds import write_sound

    sound = usual(sound_codec, 5000)
    write_sound(sound, tmp_path / "a.flac")
    data = sound_codec.encode(sound)
    assert enfold.encode(tmp_path / "a.flac", sound_codec.name) == data
    assert sound_codec.encode((tmp_path / "a.flac").read_bytes()) == data
    assert len(np.asarray(enfold.decode(data))) == 5000


def test_rates_in_range_are_coded_as_they_are(sound_codec):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResamplingWarning)
        for rate_hz in sound_codec.latent_codec.rates_hz:
            sound_codec.encode(Sound(usual(sound_codec, 500).samples, rate_hz))


def test_targets_are_for_pictures(sound_codec):
    with pytest.raises(UsageError, match="target_bpp and target_psnr are for pictures"):
        enfold.encode(usual(sound_codec, 100), sound_codec.name, target_bpp=1.0)


@pytest.mark.parametrize("wrong", [{"start_s": -1.0}, {"start_s": "soon"}, {"start_s": 2.0, "stop_s": 1.0},
                                   {"stop_s": float("nan")}])
def test_parts_that_cannot_be_are_refused(sound_codec, wrong):
    with pytest.raises(UsageError, match=r"start_s|stop_s"):
        sound_codec.decode(sound_codec.encode(usual(sound_codec, 200000)), **wrong)


def test_options_of_sound_are_refused_by_codecs_of_pictures(codec):
    from enfold.testing import sample

    with pytest.raises(UsageError, match="decodes without start_s"):
        enfold.decode(codec.encode(sample(8, 8)), start_s=1.0)


def test_hostile_files_with_valid_checksums_are_refused_or_decode_in_bounds(sound_codec):
    random = np.random.default_rng(0)
    container = unpack(sound_codec.encode(usual(sound_codec, 3000)))
    for _ in range(60):
        data = bytes([0, int(random.integers(256))]) + random.bytes(int(random.integers(0, 300)))
        broken = pack(container.header, [Section(SectionKind.SYMBOLS, data)])
        try:
            decoded = sound_codec.decode(broken)
        except BitstreamError:
            continue
        assert decoded.samples.shape[0] == 3000


def test_a_file_of_other_weights_is_refused(sound_codec):
    container = unpack(sound_codec.encode(usual(sound_codec, 100)))
    other = pack(Header(sound_codec.name, b"else", container.header.geometry, container.header.parameters),
                 container.sections)
    for partial in (False, True):
        with pytest.raises(FingerprintError):
            sound_codec.decode(other, allow_partial=partial)


def test_two_lost_sections_are_both_named(sound_codec):
    half = sound_codec.latent_codec
    data = bytearray(sound_codec.encode(usual(sound_codec, half.block * (2 * half.columns + 50))))
    for entry in peek(bytes(data)).entries[:2]:
        data[entry.data_start + 9] ^= 1
    with pytest.warns(DamageWarning, match=r"2 of 3 sections are lost: silence at 0\.00 to .* s, .* to .* s"):
        decoded = sound_codec.decode(bytes(data), allow_partial=True)
    assert decoded.samples[-20 * half.block:].any()


def test_an_hour_is_said_to_be_one(sound_codec):
    """Geometry decides what is allocated, and limits hold before anything is."""
    geometry = AudioGeometry(3600 * 44100, sound_codec.latent_codec.sound_channels, 16000)
    data = pack(Header(sound_codec.name, sound_codec.fingerprint, geometry, b"\x32"),
                [Section(SectionKind.SYMBOLS, b"\0\0")])
    with pytest.raises(BitstreamError, match="sections, the file has 1"):
        sound_codec.decode(data)
