"""Pictures: read exactly or refused with the reason, written whole or not at all."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageCms

from enfold.errors import EnfoldError, LimitError, MediaError, UsageError
from enfold.media import Picture, read_picture, replace_file, write_picture

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (13, 9), np.uint8)
RGB = RNG.integers(0, 256, (13, 9, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (13, 9), np.uint8)
ARRAYS = {"L": GREY, "LA": np.dstack((GREY, ALPHA)), "RGB": RGB, "RGBA": np.dstack((RGB, ALPHA))}
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image, format, **how):
    out = io.BytesIO()
    image.save(out, format, **how)
    return out.getvalue()


def png(width, height, depth, colour, rows, *chunks):
    """A PNG of any kind, from its raw rows (without filter bytes)."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    middle = b"".join(chunk(kind, data) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + middle + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(width, height, bits, photometric, data, **tags):
    """An uncompressed TIFF of any kind."""
    entries = {256: [width], 257: [height], 258: bits, 259: [1], 262: [photometric], 273: [0], 277: [len(bits)],
               278: [height], 279: [len(data)]} | {int(key[1:]): value for key, value in tags.items()}
    size = 8 + 2 + 12 * len(entries) + 4
    extra = b""
    rows = b""
    for tag, values in sorted(entries.items()):
        if tag == 273:
            rows += struct.pack("<HHII", tag, 4, 1, 0xDDDDDDDD)
        elif len(values) <= 2:
            rows += struct.pack("<HHI", tag, 3, len(values)) + struct.pack(f"<{len(values)}H", *values).ljust(4, b"\0")
        else:
            rows += struct.pack("<HHII", tag, 3, len(values), size + len(extra))
            extra += struct.pack(f"<{len(values)}H", *values)
    rows = rows.replace(b"\xdd" * 4, struct.pack("<I", size + len(extra)))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4) + extra + data


# What a file holds is what is read.


@pytest.mark.parametrize("mode", ARRAYS)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "array", "PIL", "picture"])
def test_grey_colour_and_alpha_come_in_exactly(mode, format):
    array = ARRAYS[mode]
    image = Image.fromarray(array)
    source = {"array": array, "PIL": image, "picture": read_picture(array)}.get(format)
    picture = read_picture(saved(image, format) if source is None else source)
    assert picture.mode == mode and (picture.width, picture.height) == (9, 13)
    assert np.array_equal(picture, array) and np.asarray(picture).dtype == np.uint8
    assert np.array_equal(picture.to_pil(), image) and picture.to_pil().mode == mode


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_webp_comes_in_exactly(mode):
    data = saved(Image.fromarray(ARRAYS[mode]), "WEBP", lossless=True, exact=True)
    assert np.array_equal(read_picture(data), ARRAYS[mode])


@pytest.mark.parametrize(("format", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("AVIF", "RGB"), ("AVIF", "RGBA"),
                                              ("BMP", "RGB"), ("PPM", "L"), ("GIF", "RGB")])
def test_other_formats_come_in_as_pillow_decodes_them(format, mode):
    data = saved(Image.fromarray(ARRAYS[mode]), format)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(read_picture(data), np.array(image.convert(mode)))


def test_of_a_jpeg_with_previews_the_main_picture_is_read():
    main, preview = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "blue")
    picture = read_picture(saved(main, "MPO", save_all=True, append_images=[preview]))
    assert picture.pixels.shape == (16, 16, 3) and picture.pixels[0, 0, 0] > 250


def test_every_kind_of_source_is_read(tmp_path):
    data = saved(Image.fromarray(RGB), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        for source in (path, str(path), data, bytearray(data), memoryview(data), file, io.BytesIO(data)):
            assert np.array_equal(read_picture(source), RGB)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20)), st.sampled_from(["PNG", "WEBP", "TIFF"]))
@settings(max_examples=60, deadline=None)
def test_any_size_from_one_pixel_on_survives_a_lossless_file(grey, format):
    out = io.BytesIO()
    write_picture(Picture(grey, 255 - grey), out, format)
    picture = read_picture(out.getvalue())
    assert np.array_equal(picture.pixels if picture.pixels.ndim == 2 else picture.pixels[..., 1], grey)
    assert picture.alpha is None or np.array_equal(picture.alpha, 255 - grey)


def test_one_bit_and_small_depths_become_eight_bit_grey():
    bits = np.array([[1, 0, 1], [0, 0, 1]], bool)
    for source in (Image.fromarray(bits), saved(Image.fromarray(bits), "PNG"), saved(Image.fromarray(bits), "TIFF")):
        picture = read_picture(source)
        assert picture.mode == "L" and np.array_equal(picture, bits * np.uint8(255))
    assert np.asarray(read_picture(png(4, 1, 2, 0, [b"\x1b"]))).tolist() == [[0, 85, 170, 255]]


def test_palettes_become_colours_and_keep_their_transparency():
    rows, palette, colours = [bytes([0, 1, 2])], (b"PLTE", bytes(range(10, 19))), np.arange(10, 19).reshape(1, 3, 3)
    assert np.array_equal(read_picture(png(3, 1, 8, 3, rows, palette)), colours)
    for alphas, expected in ((b"\x00", [0, 255, 255]), (b"\x07\xff\x80", [7, 255, 128])):
        picture = read_picture(png(3, 1, 8, 3, rows, palette, (b"tRNS", alphas)))
        assert picture.mode == "RGBA" and picture.alpha.tolist() == [expected]
        assert np.array_equal(picture.pixels, colours)
    image = Image.frombytes("PA", (3, 1), bytes([0, 7, 1, 8, 2, 9]))
    image.putpalette(bytes(range(10, 19)))
    assert np.array_equal(read_picture(image), np.dstack((colours, [[7, 8, 9]])))


@pytest.mark.parametrize(
    ("data", "grey", "alpha"),
    [
        (png(3, 1, 8, 0, [b"\x05\x06\x05"], (b"tRNS", b"\0\x05")), [5, 6, 5], [0, 255, 0]),
        (png(4, 1, 2, 0, [b"\x1b"], (b"tRNS", b"\0\x02")), [0, 85, 170, 255], [255, 255, 0, 255]),
        (png(2, 1, 4, 0, [b"\x3f"], (b"tRNS", b"\0\x03")), [51, 255], [0, 255]),
        (png(2, 1, 1, 0, [b"\x40"], (b"tRNS", b"\0\x01")), [0, 255], [255, 0]),
        (png(2, 1, 8, 2, [b"\1\2\3\1\2\4"], (b"tRNS", b"\0\1\0\2\0\3")), [[1, 2, 3], [1, 2, 4]], [0, 255]),
    ],
)
def test_a_colour_declared_transparent_becomes_alpha(data, grey, alpha):
    picture = read_picture(data)
    assert picture.pixels.tolist() == [grey] and picture.alpha.tolist() == [alpha]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_forgotten(format, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    image = Image.fromarray(np.repeat(np.repeat(np.array([[0, 90], [180, 250], [30, 130]], np.uint8), 8, 0), 8, 1))
    how = {"exif": exif} | ({"lossless": True} if format == "WEBP" else {})
    seen = np.asarray(read_picture(saved(image, format, **how)))[4::8, 4::8, ...].astype(int)
    seen = seen if seen.ndim == 2 else seen[..., 0]
    expected = {1: [[0, 90], [180, 250], [30, 130]], 2: [[90, 0], [250, 180], [130, 30]],
                3: [[130, 30], [250, 180], [90, 0]], 4: [[30, 130], [180, 250], [0, 90]],
                5: [[0, 180, 30], [90, 250, 130]], 6: [[30, 180, 0], [130, 250, 90]],
                7: [[130, 250, 90], [30, 180, 0]], 8: [[90, 250, 130], [0, 180, 30]]}[orientation]
    assert seen.shape == np.shape(expected) and np.abs(seen - expected).max() <= 3
    kept = read_picture(saved(image, format, **how), keep_metadata=True)
    if format != "TIFF":
        found = Image.Exif()
        found.load(kept.exif)
        assert found[0x010F] == "maker" and found.get(0x0112, 1) == 1
    assert np.array_equal(read_picture(kept.to_pil()), kept)


def test_profile_is_kept_and_metadata_only_on_request():
    exif = Image.Exif()
    exif[0x010F] = "maker"
    for format in ("PNG", "JPEG", "WEBP", "AVIF"):
        data = saved(Image.fromarray(RGB), format, icc_profile=PROFILE, exif=exif)
        assert read_picture(data).icc_profile == PROFILE and read_picture(data).exif is None
        assert read_picture(data, keep_metadata=True).exif[:2] in (b"II", b"MM")
    assert read_picture(saved(Image.fromarray(RGB), "TIFF", icc_profile=PROFILE)).icc_profile == PROFILE
    assert read_picture(saved(Image.fromarray(RGB), "PNG")).icc_profile is None


def test_broken_exif_does_not_hide_the_picture():
    data = saved(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0nonsense")
    assert np.array_equal(read_picture(data), RGB)


# What cannot be kept is refused, with the reason.


def deep_avif():
    """An AVIF whose index says ten bits."""
    data = bytearray(saved(Image.fromarray(RGB), "AVIF"))
    data[data.index(b"av1C") + 6] |= 0x40
    data[data.index(b"pixi") + 9 : data.index(b"pixi") + 12] = b"\x0a\x0a\x0a"
    return bytes(data)


def frames(format):
    images = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    return saved(images[0], format, save_all=True, append_images=images[1:])


WIDE = struct.pack(">3H", 1, 2, 300)
REFUSED = {
    "16-bit grey PNG": (png(1, 1, 16, 0, [b"\1\2"]), "I;16"),
    "16-bit RGB PNG": (png(1, 1, 16, 2, [WIDE]), "more than 8 bits"),
    "16-bit LA PNG": (png(1, 1, 16, 4, [WIDE[:4]]), "more than 8 bits"),
    "16-bit RGBA PNG": (png(1, 1, 16, 6, [WIDE + b"\0\1"]), "more than 8 bits"),
    "16-bit RGB TIFF": (tiff(1, 1, [16] * 3, 2, WIDE), "more than 8 bits"),
    "signed TIFF": (tiff(1, 1, [8], 1, b"\x80", t339=[2]), "8 bits"),
    "float TIFF": (saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "mode F"),
    "32-bit TIFF": (saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "mode I"),
    "TIFF with a fourth channel": (tiff(1, 1, [8] * 4, 2, b"\1\2\3\4", t338=[0]), "4 channels"),
    "TIFF with premultiplied alpha": (tiff(1, 1, [8] * 4, 2, b"\1\2\3\4", t338=[1]), "premultiplied"),
    "TIFF with a deep palette": (tiff(1, 1, [8], 3, b"\1", t320=[*range(768)]), "8 bits"),
    "16-bit PPM": (b"P6 1 1 65535\n" + WIDE, "more than 8 bits"),
    "16-bit plain PPM": (b"P3 1 1 65535\n1 2 300\n", "more than 8 bits"),
    "16-bit PGM": (b"P5 1 1 65535\n" + WIDE[:2], "mode I"),
    "10-bit AVIF": (deep_avif(), "more than 8 bits"),
    "CMYK JPEG": (saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "mode CMYK"),
    "CMYK TIFF": (saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"), "mode CMYK"),
    "LAB TIFF": (tiff(1, 1, [8] * 3, 8, b"\1\2\3"), "mode LAB"),
    "animated GIF": (frames("GIF"), "2 frames"),
    "animated WebP": (frames("WEBP"), "2 frames"),
    "animated PNG": (frames("PNG"), "2 frames"),
    "animated AVIF": (frames("AVIF"), "2 frames"),
    "TIFF with two pages": (frames("TIFF"), "2 frames"),
    "ICO": (saved(Image.fromarray(RGB), "ICO"), "not a readable picture"),
    "text": (b"hello", "not a readable picture"),
    "nothing": (b"", "not a readable picture"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_kept_exactly_is_refused_with_the_reason(kind):
    data, reason = REFUSED[kind]
    with pytest.raises(MediaError, match=reason):
        read_picture(data)


@pytest.mark.parametrize("kind", ["16-bit RGB PNG", "16-bit RGB TIFF", "10-bit AVIF", "16-bit PPM", "animated GIF"])
def test_a_picture_opened_by_pillow_is_no_way_around(kind):
    with Image.open(io.BytesIO(REFUSED[kind][0])) as image, pytest.raises(MediaError):
        read_picture(image)


@pytest.mark.parametrize("mode", ["I", "F", "CMYK", "YCbCr", "LAB", "HSV", "I;16"])
def test_other_pillow_modes_are_refused(mode):
    with pytest.raises(MediaError, match=mode):
        read_picture(Image.new(mode, (3, 2)))


@pytest.mark.parametrize("array", [GREY.astype(float), GREY.astype(np.uint16), GREY > 9, GREY[0], RGB[None], GREY[:0],
                                   RGB[..., :0], RGB[..., :1], np.zeros((3, 4, 5), np.uint8)])
def test_arrays_of_other_kinds_are_refused_by_what_they_are(array):
    with pytest.raises(UsageError) as caught:
        read_picture(array)
    assert str(array.dtype) in str(caught.value) and str(array.shape) in str(caught.value)


def test_other_objects_are_refused():
    with pytest.raises(UsageError, match="int"):
        read_picture(3)
    with pytest.raises(UsageError, match="rb"):
        read_picture(io.StringIO("text"))
    with pytest.raises(MediaError, match=r"nowhere.png"):
        read_picture("nowhere.png")


# Damage and bombs.


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_a_file_cut_anywhere_is_refused_or_whole(format):
    data = saved(Image.fromarray(RGB), format)
    whole = np.asarray(read_picture(data))
    for end in range(0, len(data), 1 if len(data) < 1000 else 3):
        try:
            assert np.array_equal(read_picture(data[:end]), whole)  # an end marker may be missing
        except MediaError:
            continue
        else:
            assert end > len(data) - 8


def test_a_png_damaged_anywhere_is_refused():
    data = saved(Image.fromarray(RGB), "PNG")
    for at in range(len(data)):
        try:
            picture = read_picture(data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :])
        except MediaError:
            continue
        assert at >= len(data) - 12 and np.array_equal(picture, RGB), "only in its end marker"


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP"])
def test_damaged_files_raise_nothing_but_our_errors(format):
    data = saved(Image.fromarray(RGB), format)
    rng = np.random.default_rng(3)
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            broken[rng.integers(len(data))] = rng.integers(256)
        try:
            read_picture(broken, max_pixels=10_000)
        except EnfoldError:
            continue


def test_a_decompression_bomb_meets_our_limit_before_it_goes_off():
    bomb = png(50_000, 50_000, 8, 0, [b""])
    tracemalloc.start()
    before = Image.MAX_IMAGE_PIXELS
    for source in (bomb, Image.open(io.BytesIO(png(9000, 9000, 8, 0, [b""])))):
        with pytest.raises(LimitError, match="max_pixels") as caught:
            read_picture(source, max_pixels=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.exit_code == 6 and peak < 1_000_000 and before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(LimitError):
        read_picture(bomb)
    assert np.array_equal(read_picture(RGB, max_pixels=None), RGB)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_pillows_own_guard_does_not_interfere(format, monkeypatch):
    data = saved(Image.fromarray(RGB), format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_picture(data).height == 13 and Image.MAX_IMAGE_PIXELS == 10


# Writing.


@pytest.mark.parametrize("mode", ARRAYS)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".TIFF"])
def test_a_lossless_file_gives_back_pixels_profile_and_exif(tmp_path, mode, suffix):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    pixels, alpha = {"L": GREY, "RGB": RGB}[mode.rstrip("A")], ALPHA if mode.endswith("A") else None
    picture = Picture(pixels, alpha, PROFILE, exif.tobytes().removeprefix(b"Exif\0\0"))
    path = tmp_path / f"a{suffix}"
    write_picture(picture, path)
    again = read_picture(path, keep_metadata=True)
    if suffix == ".webp" and "L" in mode:  # WebP has no grey
        assert np.array_equal(again.pixels, np.repeat(GREY[..., None], 3, 2))
    else:
        assert again.mode == mode and np.array_equal(again, ARRAYS[mode])
    assert (again.alpha is None) == (picture.alpha is None) and again.icc_profile == PROFILE
    if suffix in (".png", ".webp"):
        assert again.exif == picture.exif
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_jpeg_is_written_close_and_without_alpha(tmp_path):
    smooth = np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8)
    write_picture(Picture(smooth, None, PROFILE, b"II*\0\x08" + bytes(9)), tmp_path / "a.jpg")
    again = read_picture(tmp_path / "a.jpg", keep_metadata=True)
    assert np.abs(np.asarray(again).astype(int) - smooth).max() <= 2
    assert again.icc_profile == PROFILE and again.exif == b"II*\0\x08" + bytes(9)
    with pytest.raises(MediaError, match="alpha"):
        write_picture(Picture(GREY, ALPHA), tmp_path / "b.jpg")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(b"old")
    with pytest.raises(MediaError, match="WEBP"):
        write_picture(Picture(np.zeros((1, 20_000), np.uint8)), path)
    with pytest.raises(MediaError, match="cannot be written"):
        replace_file(tmp_path / "missing" / "a.png", b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MediaError, match="cannot be written"):
        replace_file(tmp_path / "folder", b"new")
    assert path.read_bytes() == b"old" and sorted(p.name for p in tmp_path.iterdir()) == ["a.webp", "folder"]


def test_an_unknown_format_is_refused(tmp_path):
    for target, format in ((tmp_path / "a.bmp", None), (io.BytesIO(), None), (tmp_path / "a.png", "tga")):
        with pytest.raises(UsageError, match="PNG"):
            write_picture(Picture(GREY), target, format)


# Pictures as arrays.


def test_numpy_takes_a_picture_as_the_array_that_went_in():
    for array in ARRAYS.values():
        picture = read_picture(array)
        assert np.array_equal(np.array(picture), array)
        assert np.asarray(picture, np.float32).dtype == np.float32
        assert not np.shares_memory(picture.__array__(copy=True), array)
    grey = Picture(GREY)
    assert np.asarray(grey) is GREY and grey.__array__(copy=False) is GREY
    with pytest.raises(ValueError, match="copy"):
        Picture(GREY, ALPHA).__array__(copy=False)
    with pytest.raises(ValueError, match="copy"):
        grey.__array__(np.float32, copy=False)


def test_what_is_read_can_be_written_to():
    for source in (saved(Image.fromarray(RGB), "PNG"), Image.fromarray(ARRAYS["RGBA"])):
        assert read_picture(source).pixels.flags.writeable
