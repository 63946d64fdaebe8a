"""The conformance kit for codecs of sound; `enfold.testing.check_codec` runs it over them.

Each check is one promise, named after it, and raises AssertionError with the case that broke it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from enfold.container import Limits, SectionKind, peek, unpack
from enfold.errors import BitstreamError, LimitError, MediaError, UsageError
from enfold.salvage import DamageWarning
from enfold.sound_codec import ResamplingWarning, SoundCodec
from enfold.sounds import FULL_SCALE, Sound, as_dtype

LENGTHS = (0, 1, 255, 257, 3000)


def sample_sound(count: int, channels: int = 2, rate_hz: int = 44100, dtype: str = "int16", seed: int = 0) -> Sound:
    """Tones, noise and a beat, some of it common to all channels."""
    random = np.random.default_rng([count, channels, seed])
    t = np.arange(count) / rate_hz
    common = sum(1500 * np.sin(2 * np.pi * pitch * t + random.uniform(0, 6)) for pitch in (110, 220, 331, 880))
    beat = np.exp(-((t * 3 % 1) * 6)) * random.normal(0, 4000, count)
    own = [800 * np.sin(2 * np.pi * (300 + 70 * k) * t) + random.normal(0, 200, count) for k in range(channels)]
    return Sound(as_dtype(np.stack([common + beat + part for part in own]).astype(np.float32), dtype), rate_hz)


def check_round_trip_keeps_length_rate_channels_and_dtype(codec: SoundCodec) -> None:
    half = codec.latent_codec
    for number, count in enumerate(LENGTHS):
        for channels in range(1, half.sound_channels + 1):
            dtype = list(FULL_SCALE)[number % len(FULL_SCALE)]
            sound = sample_sound(count, channels, half.rates_hz[number % 3], dtype)
            decoded = codec.decode(codec.encode(sound))
            kept = (decoded.samples.shape, decoded.samples.dtype.name, decoded.rate_hz)
            assert kept == (sound.samples.shape, dtype, sound.rate_hz), (count, channels, kept)


def check_other_rates_come_back_with_a_word(codec: SoundCodec) -> None:
    sound = sample_sound(2000, 1, codec.latent_codec.rates_hz[0] // 2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        decoded = codec.decode(codec.encode(sound))
    assert any(issubclass(w.category, ResamplingWarning) for w in said), [str(w.message) for w in said]
    assert (decoded.samples.shape, decoded.rate_hz) == (sound.samples.shape, sound.rate_hz), decoded.samples.shape


def check_too_many_channels_are_refused_in_words(codec: SoundCodec) -> None:
    channels = codec.latent_codec.sound_channels + 1
    try:
        codec.encode(sample_sound(100, channels, codec.latent_codec.rates_hz[2]))
    except MediaError as error:
        assert f"{channels} channels" in str(error), str(error)
    else:
        raise AssertionError(f"{channels} channels were taken")


def check_quality_orders_bytes_and_error(codec: SoundCodec) -> None:
    sound = _usual(codec, 40000)
    files = [codec.encode(sound, quality=q) for q in (1, 50, 100)]
    errors = [np.square(codec.decode(f).samples - sound.samples.astype(float)).mean() for f in files]
    assert len(files[0]) < len(files[1]) < len(files[2]), [len(f) for f in files]
    assert errors[0] > errors[1] > errors[2], errors


def check_quiet_sounds_are_not_lost(codec: SoundCodec) -> None:
    """A sound 60 dB down is coded as well as it is loud, in about as many bytes."""
    loud = _usual(codec, 30000, "float32")
    quiet = Sound(loud.samples / np.float32(1000), loud.rate_hz)
    data = codec.encode(quiet)
    missed = np.square(codec.decode(data).samples - quiet.samples).mean()
    assert missed < 0.3 * np.square(quiet.samples).mean(), missed
    assert len(data) < 2 * len(codec.encode(loud)), len(data)


def check_encoding_is_deterministic(codec: SoundCodec) -> None:
    sound = _usual(codec, 20000)
    assert codec.encode(sound) == codec.encode(Sound(sound.samples.copy(), sound.rate_hz))


def check_latents_of_media_and_bytes_agree(codec: SoundCodec) -> None:
    for count in (*LENGTHS, codec.latent_codec.block * (codec.latent_codec.columns + 20)):
        sound = _usual(codec, count)
        ours, theirs = codec.latents(sound, quality=60), codec.latents(codec.encode(sound, quality=60))
        assert ours.symbols.shape == (codec.latent_codec.channels, -(-count // codec.latent_codec.block)), count
        assert np.array_equal(ours.symbols, theirs.symbols), count
        assert np.array_equal(ours.values, theirs.values), count
        assert (ours.quality, ours.geometry, ours.fingerprint) == (theirs.quality, theirs.geometry, theirs.fingerprint)


def check_estimated_bits_are_the_bytes_written(codec: SoundCodec) -> None:
    """Within 0.5 %, once the file is large enough for its fixed costs not to count."""
    import torch

    if not isinstance(codec, torch.nn.Module):
        return
    half = codec.latent_codec
    sound = sample_sound(half.block * 300, half.sound_channels, half.rates_hz[2])
    units = torch.from_numpy(sound.samples.T.astype(np.float32))[None]
    for quality in (20, 60, 95):
        streams = [s.data for s in unpack(codec.encode(sound, quality=quality)).sections
                   if s.kind == SectionKind.SYMBOLS]
        written = sum(len(s) for s in streams)
        _, bits = codec(units, quality)
        estimated = bits.item() / 8
        assert abs(written - estimated) <= 0.005 * estimated + 12, (quality, written, estimated)


def check_bad_quality_is_refused_in_words(codec: SoundCodec) -> None:
    wrong: tuple[Any, ...] = (0, 101, 50.5, "high", True)
    for quality in wrong:
        try:
            codec.encode(_usual(codec, 8), quality=quality)
        except UsageError as error:
            assert repr(quality) in str(error), str(error)
        else:
            raise AssertionError(f"quality {quality!r} was taken")


def check_limits_hold(codec: SoundCodec) -> None:
    data = codec.encode(_usual(codec, 5000))
    for limits in (Limits(max_bytes=100), Limits(max_symbols=10)):
        for partial in (False, True):
            try:
                codec.decode(data, limits=limits, allow_partial=partial)
            except LimitError:
                continue
            raise AssertionError(f"decoded in spite of {limits}")


def check_a_part_is_what_the_whole_has(codec: SoundCodec) -> None:
    data, whole = _three_sections(codec)
    hz = whole.rate_hz
    for start_s, stop_s in ((0.0, 0.1), (9.9, 10.2), (12.3, 22.0), (25.0, None)):
        part = codec.decode(data, start_s=start_s, stop_s=stop_s).samples
        until = None if stop_s is None else round(stop_s * hz)
        assert np.array_equal(part, whole.samples[round(start_s * hz):until]), (start_s, stop_s)


def check_a_damaged_section_loses_only_itself(codec: SoundCodec) -> None:
    """Of three sections the middle one: the rest is the same to the last bit, and what is lost is said."""
    data, whole = _three_sections(codec)
    half = codec.latent_codec
    total = half.total_columns(peek(data).header.geometry)          # type: ignore[arg-type]
    lost = half.sections(total)[1]
    first, last = lost.start * half.block, lost.stop * half.block
    entry = peek(data).entries[1]
    for place in (entry.start + 1, entry.data_start + 7, entry.data_end + 1):    # its length, its data, its check
        broken = bytearray(data)
        broken[place] ^= 0x10
        try:
            codec.decode(bytes(broken))
        except BitstreamError:
            pass
        else:
            raise AssertionError("damage went unnoticed")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            left = codec.decode(bytes(broken), allow_partial=True).samples
        words = [str(w.message) for w in said if issubclass(w.category, DamageWarning)]
        assert len(words) == 1, words
        assert np.array_equal(left[:first], whole.samples[:first]), place
        assert np.array_equal(left[last:], whole.samples[last:]), place
        if place == entry.data_end + 1:     # the data are whole, and the next section tells so
            assert np.array_equal(left, whole.samples) and "0 of 3 sections are lost" in words[0], words
        else:
            assert f"{first / whole.rate_hz:.2f} to {last / whole.rate_hz:.2f} s" in words[0], words
            fade = 2 * half.block
            assert not left[first + fade:last - fade].any(), place


def check_repr_names_codec_and_weights(codec: SoundCodec) -> None:
    assert codec.name in repr(codec) and codec.fingerprint.hex() in repr(codec), repr(codec)


def check_every_damage_is_named(codec: SoundCodec, count: int = 500, seed: int = 0) -> None:
    """Flips, cuts, swaps and random bytes: each a BitstreamError, never a sound; and what is left of them decodes."""
    from enfold.testing import damaged

    files = [codec.encode(_usual(codec, 4000)), codec.encode(_usual(codec, 300), quality=20)]
    for number, (kind, broken) in enumerate(damaged(files, count, seed)):
        try:
            codec.decode(broken)
        except BitstreamError:
            if number % 10 == 0:
                _decode_what_is_left(codec, broken)
            continue
        raise AssertionError(f"{kind} of a {len(broken)}-byte file went through")


CHECKS: tuple[Callable[[SoundCodec], None], ...] = (
    check_round_trip_keeps_length_rate_channels_and_dtype,
    check_other_rates_come_back_with_a_word,
    check_too_many_channels_are_refused_in_words,
    check_quality_orders_bytes_and_error,
    check_quiet_sounds_are_not_lost,
    check_encoding_is_deterministic,
    check_latents_of_media_and_bytes_agree,
    check_estimated_bits_are_the_bytes_written,
    check_bad_quality_is_refused_in_words,
    check_limits_hold,
    check_a_part_is_what_the_whole_has,
    check_a_damaged_section_loses_only_itself,
    check_repr_names_codec_and_weights,
    check_every_damage_is_named,
)


def _usual(codec: SoundCodec, count: int, dtype: str = "int16") -> Sound:
    return sample_sound(count, codec.latent_codec.sound_channels, codec.latent_codec.rates_hz[2], dtype)


def _three_sections(codec: SoundCodec) -> tuple[bytes, Sound]:
    """A file of three sections, and what it decodes to."""
    half = codec.latent_codec
    data = codec.encode(_usual(codec, half.block * (2 * half.columns + half.columns // 2)))
    return data, codec.decode(data)


def _decode_what_is_left(codec: SoundCodec, broken: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        try:
            codec.decode(broken, allow_partial=True)
        except BitstreamError:      # not even the header is left
            return
