"""`enfold encode`: pictures into .enf files."""

from __future__ import annotations

from typing import Annotated

import typer

import enfold
from enfold.cli.files import Job, plan
from enfold.cli.options import Force, Json, MaxPixels, Source, Target, Threads, use_threads

EXAMPLES = """\b
Examples:
  enfold encode photo.png                     writes photo.enf beside it
  enfold encode photo.png tiny.enf -q 20
  enfold encode photo.png -c hyper-rgb --target-bpp 0.25
  enfold encode photos/ small/                every picture in the folder, its structure kept
  cat photo.png | enfold encode - - > photo.enf"""


def command(
    source: Source, target: Target = None, *,
    codec: Annotated[str, typer.Option("--codec", "-c", help="A name that `enfold models` lists.")]
    = enfold.DEFAULT_CODEC,
    quality: Annotated[int | None, typer.Option("--quality", "-q", metavar="1..100", show_default=False,
                                                help="1 is the smallest file, 100 the best picture. "
                                                     "[default: the codec's]")] = None,
    target_bpp: Annotated[float | None, typer.Option("--target-bpp", metavar="X", show_default=False,
                                                     help="In place of a quality: the best file of at most X bits "
                                                          "a pixel.")] = None,
    target_psnr: Annotated[float | None, typer.Option("--target-psnr", metavar="X", show_default=False,
                                                      help="In place of a quality: the smallest file that decodes "
                                                           "to X dB.")] = None,
    keep_metadata: Annotated[bool, typer.Option("--keep-metadata", help="Keep EXIF; colour profiles always stay.")]
    = False,
    force: Force = False, json: Json = False, threads: Threads = 0, max_pixels: MaxPixels = None,
) -> None:
    """Turn pictures into .enf files."""
    from enfold import registry
    from enfold.cli.converting import convert
    from enfold.cli.options import limits
    from enfold.media import read_picture

    registry.entry(codec)                    # a name misspelt is known before any file is looked for
    jobs = plan(source, target, _picture_suffixes(), ".enf")
    use_threads(threads)
    enfold.load(codec)                       # and so are weights that are missing
    most = limits(max_pixels=max_pixels).max_pixels

    def work(data: bytes, job: Job) -> bytes:
        picture = read_picture(data, keep_metadata=keep_metadata, max_pixels=most)
        return enfold.encode(picture, codec, quality=quality, target_bpp=target_bpp, target_psnr=target_psnr,
                             keep_metadata=keep_metadata)

    convert(jobs, work, force=force, as_json=json)


def _picture_suffixes() -> set[str]:
    """The suffixes of the formats that can be read."""
    from PIL import Image

    from enfold.media import READS

    return {suffix for suffix, format in Image.registered_extensions().items() if format in READS}
