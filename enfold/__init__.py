"""enfold: neural codecs and compressed-domain learning.

    data   = enfold.encode(image, codec="walloc-rgb-16x")   # bytes: a complete .enf file
    image  = enfold.decode(data)                            # as it went in
    latent = enfold.latents(data)                           # what a learner eats; no synthesis is run
    codec  = enfold.load("walloc-rgb-16x")                  # a torch Module: encode, decode, latents, forward

This module is the face. It imports nothing heavy: torch comes in with `load`, `encode` and
`decode`, NumPy with `latents` and `info`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfold.codec import Codec, Latent
    from enfold.container import Limits, Summary

__version__ = "0.1.0"
__all__ = ["codec_names", "codec_of", "decode", "encode", "info", "latents", "load"]

DEFAULT_CODEC = "walloc-rgb-16x"
DEFAULT_SOUND_CODEC = "walloc-stereo-5x"


def encode(media: Any, codec: str = DEFAULT_CODEC, *, quality: int | None = None, target_bpp: float | None = None,
           target_psnr: float | None = None, keep_metadata: bool = False) -> bytes:
    """Media → a complete .enf file.

    media: a path, the bytes of a picture file, a binary file object, a PIL image, or a uint8
    array (H, W), (H, W, 2), (H, W, 3) or (H, W, 4); for codecs of sound a path, the bytes of a sound file,
    a binary file object or an `enfold.sounds.Sound`. quality: 1 (smallest) to 100 (best); None
    takes the codec's default. In its place target_bpp asks for the best file of at most so many
    bits a pixel, header and all, and target_psnr for the smallest that decodes to so many dB; both for pictures.
    keep_metadata: keep EXIF too; colour profiles are always kept.
    Raises UsageError, MediaError, LimitError, MissingWeightsError.
    """
    from enfold import registry
    from enfold.errors import UsageError
    from enfold.media import read_picture
    from enfold.targets import encode_to_bpp, encode_to_psnr

    if [quality, target_bpp, target_psnr].count(None) < 2:
        raise UsageError("quality, target_bpp and target_psnr exclude each other: give one of them")
    if (target_bpp, target_psnr) != (None, None) and registry.entry(codec).medium != "picture":
        raise UsageError(f"target_bpp and target_psnr are for pictures, and {codec} is none of their codecs: "
                         "give a quality")
    model: Any = load(codec)
    if target_bpp is not None:
        picture = read_picture(media, keep_metadata=keep_metadata)
        return encode_to_bpp(model, picture, target_bpp, keep_metadata=keep_metadata)
    if target_psnr is not None:
        picture = read_picture(media, keep_metadata=keep_metadata)
        return encode_to_psnr(model, picture, target_psnr, keep_metadata=keep_metadata)
    return model.encode(media, quality=quality, keep_metadata=keep_metadata)


def decode(data: bytes, *, limits: Limits | None = None, **options: Any) -> Any:
    """A file → the media, of the size and mode that went in; NumPy takes it as an array.

    A `Picture`, a `Sound`, or what else the codec is for. options: the codec's own. Those of sound take
    start_s and stop_s, a part in seconds, and allow_partial: what is damaged becomes silence, with a warning
    that names it.

    Raises BitstreamError where the file is damaged, LimitError where it asks for more than
    `limits` allows, MissingWeightsError where the weights that wrote it are not at hand.
    """
    from inspect import signature

    from enfold.container import Limits, unpack
    from enfold.errors import UsageError

    limits = limits or Limits()
    if not options.get("allow_partial"):
        unpack(data, limits)                    # all of it verified before any weights are looked for
    codec: Any = codec_of(data)
    if unknown := options.keys() - signature(codec.decode).parameters.keys():
        raise UsageError(f"{codec.name} decodes without {', '.join(sorted(unknown))}: leave it out")
    return codec.decode(data, limits=limits, **options)


def latents(source: Any, codec: str = DEFAULT_CODEC, *, quality: int | None = None,
            limits: Limits | None = None) -> Latent:
    """The latent of a file's bytes, or, for anything else, of media as `encode` would write it.

    From bytes, `codec` and `quality` are those of the file, and torch is not imported where the
    codec's prior needs none. Raises as `decode` does.
    """
    from enfold.container import Limits, is_enf, unpack

    limits = limits or Limits()
    if isinstance(source, bytes | bytearray | memoryview) and is_enf(source):
        container = unpack(source, limits)
        return _latent_codec(container.header.codec, container.header.fingerprint).latent(container, limits)
    return load(codec).latents(source, quality=quality, limits=limits)


def load(codec: str = DEFAULT_CODEC) -> Codec:
    """A codec with its weights, a torch Module. Raises UsageError, MissingWeightsError."""
    from enfold import pretrained, registry

    registry.entry(codec)
    return _loaded(codec, pretrained.find(codec).fingerprint)


def codec_of(data: bytes) -> Codec:
    """The codec that wrote a file, with its weights. Raises BitstreamError, MissingWeightsError."""
    from enfold.container import read_start

    header = read_start(memoryview(data))[0]
    return _loaded(header.codec, header.fingerprint)


def info(data: bytes) -> Summary:
    """What a file says of itself: header and sections. Reads no section and imports no torch."""
    from enfold.container import peek

    return peek(data)


def codec_names() -> list[str]:
    """The names of all codecs."""
    from enfold import registry

    return list(registry.entries())


@lru_cache(maxsize=4)
def _loaded(codec: str, fingerprint: bytes) -> Codec:
    return _made("codec", codec, fingerprint)


@lru_cache(maxsize=16)
def _latent_codec(codec: str, fingerprint: bytes) -> Any:
    return _made("latents", codec, fingerprint)


def _made(half: str, codec: str, fingerprint: bytes) -> Any:
    from enfold import pretrained, registry
    from enfold.errors import MissingWeightsError, UsageError

    try:
        entry = registry.entry(codec)
    except UsageError as error:
        raise MissingWeightsError(codec, fingerprint, f"this enfold has no such codec ({error})") from None
    card = pretrained.find(codec, fingerprint)
    return registry.resolve(getattr(entry, half))(codec, pretrained.weights(card), card.fingerprint)
