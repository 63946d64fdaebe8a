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
    from collections.abc import Sequence

    from enfold.codec import Codec, Latent
    from enfold.container import Limits, Summary

__version__ = "0.1.0"
__all__ = ["codec_names", "codec_of", "decode", "encode", "info", "latents", "load", "many_latents"]

DEFAULT_CODEC = "walloc-rgb-16x"
DEFAULT_SOUND_CODEC = "walloc-stereo-5x"


def encode(media: Any, codec: str = DEFAULT_CODEC, *, quality: int | None = None, target_bpp: float | None = None,
           target_psnr: float | None = None, keep_metadata: bool = False, effort: int = 0, packets: int = 1) -> bytes:
    """Media → a complete .enf file.

    media: a path, the bytes of a picture file, a binary file object, a PIL image, or a uint8
    array (H, W), (H, W, 2), (H, W, 3) or (H, W, 4); for codecs of sound a path, the bytes of a sound file,
    a binary file object or an `enfold.sounds.Sound`. quality: 1 (smallest) to 100 (best); None
    takes the codec's default. In its place target_bpp asks for the best file of at most so many
    bits a pixel, header and all, and target_psnr for the smallest that decodes to so many dB; both for pictures.
    keep_metadata: keep EXIF too; colour profiles are always kept. effort: how many steps to search
    for latents that take fewer bits or decode to less error, where the codec can; 0, for none, is
    quick, 20 takes some seconds a megapixel, and any decoder reads the file. packets: in how many parts the
    file is cut, any of which may be lost, where the codec can do that; see `decode`.
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
    if packets != 1 and (target_bpp, target_psnr) != (None, None):
        raise UsageError("packets go with a quality, not with target_bpp or target_psnr")
    options: dict[str, Any] = {"effort": effort} if effort else {}
    if packets != 1:
        options["packets"] = packets
    _know(options, codec, model.encode, "encodes")
    options["keep_metadata"] = keep_metadata
    if target_bpp is not None:
        picture = read_picture(media, keep_metadata=keep_metadata)
        return encode_to_bpp(model, picture, target_bpp, **options)
    if target_psnr is not None:
        picture = read_picture(media, keep_metadata=keep_metadata)
        return encode_to_psnr(model, picture, target_psnr, **options)
    return model.encode(media, quality=quality, **options)


def decode(data: bytes, *, limits: Limits | None = None, **options: Any) -> Any:
    """A file → the media, of the size and mode that went in; NumPy takes it as an array.

    A `Picture`, a `Sound`, or what else the codec is for. options: the codec's own. Those of sound take
    start_s and stop_s, a part in seconds. Those that can go on without parts of a file take allow_partial: what
    is damaged or missing is filled, in a sound with silence, and a `DamageWarning` says where.

    Raises BitstreamError where the file is damaged, LimitError where it asks for more than
    `limits` allows, MissingWeightsError where the weights that wrote it are not at hand.
    """
    from enfold.container import Limits, unpack

    limits = limits or Limits()
    if not options.get("allow_partial"):
        unpack(data, limits)                    # all of it verified before any weights are looked for
    codec: Any = codec_of(data)
    _know(options, codec.name, codec.decode, "decodes")
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


def many_latents(files: Sequence[bytes], *, limits: Limits | None = None) -> list[Latent]:
    """The latents of many files: together, where they are of one codec whose kernels take many at once."""
    from itertools import groupby

    from enfold.container import Limits, unpack

    limits = limits or Limits()
    found: list[Latent] = []
    containers = [unpack(data, limits) for data in files]
    for (name, mark), those in groupby(containers, lambda one: (one.header.codec, one.header.fingerprint)):
        found += _latent_codec(name, mark).latent_many(list(those), limits)
    return found


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


def _know(options: dict[str, Any], codec: str, method: Any, does: str) -> None:
    """Raises UsageError for options that a codec's method does not take."""
    from inspect import signature

    from enfold.errors import UsageError

    if unknown := options.keys() - signature(method).parameters.keys():
        raise UsageError(f"{codec} {does} without {', '.join(sorted(unknown))}: leave it out")


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
