"""`enfold encode`: pictures and sounds into .enf files."""

from __future__ import annotations

from typing import Annotated

import typer

import enfold
from enfold.cli.files import PIPE, Job, plan
from enfold.cli.options import Force, Json, MaxPixels, Source, Target, Threads, use_threads

EXAMPLES = """\b
Examples:
  enfold encode photo.png                     writes photo.enf beside it
  enfold encode photo.png tiny.enf -q 20
  enfold encode photo.png -c hyper-rgb --target-bpp 0.25
  enfold encode photo.png --effort 20         a smaller and better file, in some seconds
  enfold encode photo.png -c vqgan-rgb --packets 8    a few hundred bytes, of which some may be lost
  enfold encode photos/ small/                every picture and sound in the folder, its structure kept
  enfold encode song.flac                     writes song.enf beside it
  enfold encode talk.wav -c walloc-speech
  cat photo.png | enfold encode - - > photo.enf"""


def command(
    source: Source, target: Target = None, *,
    codec: Annotated[str | None, typer.Option(
        "--codec", "-c", show_default=False, help="A name that `enfold models` lists. "
        f"[default: {enfold.DEFAULT_CODEC}, for sounds {enfold.DEFAULT_SOUND_CODEC}]")] = None,
    quality: Annotated[int | None, typer.Option("--quality", "-q", metavar="1..100", show_default=False,
                                                help="1 is the smallest file, 100 the best. "
                                                     "[default: the codec's]")] = None,
    target_bpp: Annotated[float | None, typer.Option("--target-bpp", metavar="X", show_default=False,
                                                     help="In place of a quality: the best file of at most X bits "
                                                          "a pixel.")] = None,
    target_psnr: Annotated[float | None, typer.Option("--target-psnr", metavar="X", show_default=False,
                                                      help="In place of a quality: the smallest file that decodes "
                                                           "to X dB.")] = None,
    effort: Annotated[int, typer.Option("--effort", metavar="N", min=0,
                                        help="Search for better latents in N steps: some per cent fewer bytes and less "
                                             "error, from some seconds a megapixel (20) on. Not every codec can.")] = 0,
    packets: Annotated[int, typer.Option("--packets", metavar="N", min=1, help="Cut the file into N parts that can be "
                                         "lost, where the codec can do that: see decode --allow-partial.")] = 1,
    keep_metadata: Annotated[bool, typer.Option("--keep-metadata", help="Keep EXIF; colour profiles always stay.")]
    = False,
    force: Force = False, json: Json = False, threads: Threads = 0, max_pixels: MaxPixels = None,
) -> None:
    """Turn pictures and sounds into .enf files."""
    from enfold import registry
    from enfold.cli.converting import convert
    from enfold.cli.options import limits
    from enfold.media import read_picture

    # a name misspelt is known before any file is looked for
    takes = _suffixes(None if codec is None else registry.entry(codec).medium)
    jobs = plan(source, target, takes, ".enf")
    use_threads(threads)
    for name in {_codec(codec, job) for job in jobs}:       # and so are weights that are missing
        enfold.load(name)
    most = limits(max_pixels=max_pixels).max_pixels

    def is_sound(job: Job) -> bool:
        return registry.entry(_codec(codec, job)).medium == "sound"

    def work(data: bytes, job: Job) -> bytes:
        if is_sound(job):
            return enfold.encode(data if job.source == PIPE else job.source, _codec(codec, job), quality=quality,
                                 target_bpp=target_bpp, target_psnr=target_psnr, keep_metadata=keep_metadata,
                                 packets=packets, effort=effort)
        picture = read_picture(data, keep_metadata=keep_metadata, max_pixels=most)
        return enfold.encode(picture, _codec(codec, job), quality=quality, target_bpp=target_bpp,
                             target_psnr=target_psnr, keep_metadata=keep_metadata, packets=packets, effort=effort)

    convert(jobs, work, force=force, as_json=json, by_path=is_sound)


def _codec(given: str | None, job: Job) -> str:
    """The codec of a file: the one that was asked for, or the usual one of what the suffix names."""
    from enfold.sounds import BY_FFMPEG, READS

    is_sound = job.source.suffix.lower() in (*READS, *BY_FFMPEG)
    return given or (enfold.DEFAULT_SOUND_CODEC if is_sound else enfold.DEFAULT_CODEC)


def _suffixes(medium: str | None) -> set[str]:
    """The suffixes of the formats that can be read: of pictures, of sounds, or of both."""
    from PIL import Image

    from enfold import media, sounds

    pictures = {suffix for suffix, format in Image.registered_extensions().items() if format in media.READS}
    heard = {*sounds.READS, *sounds.BY_FFMPEG}
    return {"picture": pictures, "sound": heard}.get(medium or "", pictures | heard)
