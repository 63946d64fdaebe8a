"""What a pack promises: nothing lost, nothing that depends on how it was made, bad inputs in words."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import enfold
from enfold.errors import MediaError, UsageError
from enfold.learners import manifest, open_pack, pack, processes, unpack
from enfold.learners.rows import METADATA, PackInfo
from enfold.testing import sample

from .conftest import CODEC, same_files, write_pictures


def rows_by_key(folder: Path) -> dict:
    return {row.key: row for row in open_pack(folder).rows()}


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("coding", ["static", "codec"])
def test_every_row_gives_back_the_file_that_encode_writes(photos, tmp_path, coding):
    report = pack(photos, tmp_path / "p", codec=CODEC, coding=coding, quality=60, shard_rows=10)
    opened = open_pack(tmp_path / "p")
    assert report.samples == 18 and report.coding == opened.info.coding == coding
    for row in opened.rows():
        assert opened.enf(row) == enfold.encode(photos / row.key, codec=CODEC, quality=60)


def test_labels_are_the_sub_folders(packed):
    opened = open_pack(packed)
    assert opened.info.label_names == ("cat", "dog", "eel")
    for row in opened.rows():
        assert opened.info.label_names[row.label] == row.key.split("/")[0]


def test_alpha_grey_profile_and_any_size_survive(tmp_path):
    (tmp_path / "in").mkdir()
    for size in ((1, 1), (9, 31), (64, 40)):
        for mode in ("L", "LA", "RGB", "RGBA"):
            Image.fromarray(sample(*size, mode)).save(tmp_path / "in" / f"{mode}{size[0]}.png",
                                                      icc_profile=bytes(range(99)) if mode == "RGB" else None)
    pack(tmp_path / "in", tmp_path / "p", codec=CODEC)
    opened = open_pack(tmp_path / "p")
    for row in opened.rows():
        assert opened.enf(row) == enfold.encode(tmp_path / "in" / row.key, codec=CODEC)
    assert {row.profile is not None for row in opened.rows() if row.key.startswith("RGB9")} == {True}


def test_symbols_beyond_the_tables_are_kept(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(600):       # tables are counted on 512: the loud one is not among them
        grey = np.full((8, 8, 3), 120 + number % 9, np.uint8)
        Image.fromarray(grey).save(tmp_path / "in" / f"{number:03}.bmp")
    seen = set(np.unique(np.linspace(0, 599, 512).astype(int)).tolist())
    loud = next(number for number in range(600) if number not in seen)
    Image.fromarray(np.random.default_rng(0).choice([0, 255], (8, 8, 3)).astype(np.uint8)).save(
        tmp_path / "in" / f"{loud:03}.bmp")
    pack(tmp_path / "in", tmp_path / "p", codec=CODEC)
    opened = open_pack(tmp_path / "p")
    row = rows_by_key(tmp_path / "p")[f"{loud:03}.bmp"]
    assert row.patches
    assert opened.enf(row) == enfold.encode(tmp_path / "in" / row.key, codec=CODEC)


def test_processes_change_no_byte(photos, packed, tmp_path):
    pack(photos, tmp_path / "p", codec=CODEC, shard_rows=7, jobs=2)
    assert same_files(packed, tmp_path / "p")


def test_where_nothing_is_left_to_do_no_process_is_started(photos, packed, monkeypatch):
    def start(*_):
        raise AssertionError("a process for nothing")
    monkeypatch.setattr(processes, "ProcessPoolExecutor", start)
    assert pack(photos, packed, codec=CODEC, shard_rows=7, jobs=2).resumed == 3


def test_a_run_that_stopped_goes_on_and_loses_nothing(photos, packed, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(done, of):
        if done > 7:
            raise Stop
    with pytest.raises(Stop):
        pack(photos, tmp_path / "p", codec=CODEC, shard_rows=7, progress=stop)
    assert [path.name for path in sorted((tmp_path / "p").glob("*.parquet"))] == ["part-00000.parquet"]
    with pytest.raises(UsageError, match=r"1 of 3 shards: repeat the command"):
        open_pack(tmp_path / "p")
    assert pack(photos, tmp_path / "p", codec=CODEC, shard_rows=7).resumed == 1
    assert same_files(packed, tmp_path / "p")


def test_a_killed_run_goes_on_to_the_same_bytes(photos, packed, tmp_path):
    """kill -9 as soon as the first shard is there, and a torn line in the manifest on top."""
    command = [sys.executable, "-m", "enfold", "pack", str(photos), str(tmp_path / "p"), "-c", CODEC,
               "--shard-rows", "7", "-j", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "p" / "part-00000.parquet").exists() and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (tmp_path / "p" / manifest.NAME).open("a") as file:
        file.write('{"shard": 1, "rows": 7, "by')
    (tmp_path / "p" / ".part-00001.parquet.part").write_bytes(b"half a shard")
    pack(photos, tmp_path / "p", codec=CODEC, shard_rows=7)
    assert same_files(packed, tmp_path / "p")


def test_a_shard_that_went_missing_is_made_again(photos, packed, tmp_path):
    pack(photos, tmp_path / "p", codec=CODEC, shard_rows=7)
    (tmp_path / "p" / "part-00001.parquet").unlink()
    assert pack(photos, tmp_path / "p", codec=CODEC, shard_rows=7).resumed == 2
    assert same_files(packed, tmp_path / "p")


def test_another_pack_is_not_mixed_in(photos, packed):
    with pytest.raises(UsageError, match="quality 75, this one has 20"):
        pack(photos, packed, codec=CODEC, shard_rows=7, quality=20)


def test_a_folder_with_something_else_is_refused(photos, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"not empty \(thesis.tex"):
        pack(photos, tmp_path, codec=CODEC)


def test_two_runs_do_not_work_in_one_folder(photos, tmp_path):
    with manifest.held(tmp_path / "p"), pytest.raises(UsageError, match=r"another run"):
        pack(photos, tmp_path / "p", codec=CODEC)


@pytest.fixture
def hostile(tmp_path) -> Path:
    folder = write_pictures(tmp_path / "in", 3)
    jpeg = io.BytesIO()
    Image.fromarray(sample(40, 48)).save(jpeg, "JPEG")
    (folder / "cut.jpg").write_bytes(jpeg.getvalue()[:-200])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not a picture")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "deep.png")
    Image.new("CMYK", (8, 8)).save(folder / "cmyk.jpg")
    os.symlink("nowhere", folder / "lost.png")
    (folder / "notes.txt").write_text("left alone")
    return folder


def test_bad_inputs_are_named_and_the_rest_is_packed(hostile, tmp_path):
    report = pack(hostile, tmp_path / "p", codec=CODEC)
    assert report.samples == 3
    reasons = {refusal.key: refusal.reason for refusal in report.refused}
    assert sorted(reasons) == ["cmyk.jpg", "cut.jpg", "deep.png", "empty.png", "lost.png", "text.png"]
    assert "CMYK" in reasons["cmyk.jpg"] and "cut short" in reasons["cut.jpg"]
    assert "more than 8 bits" in reasons["deep.png"] or "Pillow's mode I;16" in reasons["deep.png"]
    assert "No such file" in reasons["lost.png"]
    assert pack(hostile, tmp_path / "p", codec=CODEC).refused == report.refused      # remembered


def test_strict_stops_at_the_first(hostile, tmp_path):
    with pytest.raises(MediaError, match=r"cmyk.jpg.*--strict"):
        pack(hostile, tmp_path / "p", codec=CODEC, strict=True)


def test_nothing_to_pack_and_nothing_readable_are_told_apart(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(MediaError, match="holds no pictures"):
        pack(tmp_path / "in", tmp_path / "p", codec=CODEC)
    (tmp_path / "in" / "a.png").write_text("no")
    with pytest.raises(MediaError, match=r"none that was tried can be read; the first: a.png"):
        pack(tmp_path / "in", tmp_path / "p", codec=CODEC)


def test_names_that_are_no_utf8_are_kept_readable(tmp_path):
    (tmp_path / "in").mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(sample(8, 8)).save(tmp_path / "in" / name)
    pack(tmp_path / "in", tmp_path / "p", codec=CODEC)
    assert open_pack(tmp_path / "p").keys() == ["caf\\xe9.png"]


def test_csv_says_which_samples_and_their_classes(photos, tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("file,label\ncat/00.png,7\ndog/01.png,9\ncat/00.png,8\ngone.png,1\n")
    report = pack(photos, tmp_path / "p", codec=CODEC, labels=table)
    assert {key: row.label for key, row in rows_by_key(tmp_path / "p").items()} == {"cat/00.png": 7, "dog/01.png": 9}
    assert [refusal.key for refusal in report.refused] == ["cat/00.png", "gone.png"]
    assert "sample 0" in report.refused[0].reason


def test_parquet_of_pictures_packs_with_its_class_names(tmp_path):
    table = pa.table({"image": [{"bytes": png(sample(16, 24, seed=n)), "path": None} for n in range(3)] + [None],
                      "label": [1, 0, 1, 0]})
    names = b'{"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}'
    pq.write_table(table.replace_schema_metadata({b"huggingface": names}), tmp_path / "in.parquet")
    report = pack(tmp_path / "in.parquet", tmp_path / "p", codec=CODEC)
    opened = open_pack(tmp_path / "p")
    assert [(row.key, row.label) for row in opened.rows()] == [("in/000000000", 1), ("in/000000001", 0),
                                                              ("in/000000002", 1)]
    assert opened.info.label_names == ("no", "yes")
    assert report.refused[0].key == "in/000000003" and "no bytes" in report.refused[0].reason


def test_tars_go_in_and_come_out(photos, tmp_path):
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "0.tar", "w") as tar:
        for number in range(5):
            for suffix, data in (("png", png(sample(16, 24, seed=number))), ("cls", b"3"), ("json", b"{}")):
                member = tarfile.TarInfo(f"s/{number}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    pack(tmp_path / "in", tmp_path / "tars", codec=CODEC, to="webdataset", shard_rows=2)
    assert sorted(path.name for path in (tmp_path / "tars").glob("*.tar")) == [f"part-0000{n}.tar" for n in range(3)]
    opened = open_pack(tmp_path / "tars")
    assert [(row.key, row.label) for row in opened.rows()] == [(f"s/{n}", 3) for n in range(5)]
    for number, row in enumerate(opened.rows()):
        assert opened.enf(row) == enfold.encode(sample(16, 24, seed=number), codec=CODEC)


@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning",       # theirs: it leaves the tar open
                            "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_streams_the_tars(photos, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="the webdataset package is not installed")
    pack(photos, tmp_path / "tars", codec=CODEC, to="webdataset")
    samples = webdataset.WebDataset(str(tmp_path / "tars" / "part-00000.tar"), shardshuffle=False).decode(
        webdataset.handle_extension("enf", enfold.latents)).to_tuple("__key__", "enf", "cls")
    key, latent, label = next(iter(list(samples)))
    assert (key, label) == ("cat/00", 0)
    assert np.array_equal(latent.symbols, enfold.load(CODEC).latents(photos / "cat/00.png").symbols)


def test_unpack_gives_pictures_and_labels_back(photos, packed, tmp_path):
    report = unpack(packed, tmp_path / "out")
    assert report.written == 18 and not report.refused
    decoded = np.asarray(Image.open(tmp_path / "out" / "cat" / "00.png"))
    assert np.array_equal(decoded, np.asarray(enfold.decode(enfold.encode(photos / "cat/00.png", codec=CODEC))))
    lines = list(csv.DictReader((tmp_path / "out" / "labels.csv").read_text().splitlines()))
    assert lines[0] == {"file": "cat/00.png", "label": "cat"} and len(lines) == 18
    assert unpack(packed, tmp_path / "out").written == 0                               # nothing is replaced


def test_a_key_does_not_lead_out_of_the_folder(packed, tmp_path):
    (tmp_path / "p").mkdir()
    source = packed / "part-00000.parquet"
    table = pq.read_table(source)
    for name in ("../evil.png", "/tmp/evil.png", "a/../../evil.png"):
        keys = pa.array([name, *table["key"].to_pylist()[1:]])
        pq.write_table(table.set_column(0, "key", keys), tmp_path / "p" / "part-00000.parquet")
        report = unpack(tmp_path / "p", tmp_path / "out" / "in", limit=1)
        assert [refusal.key for refusal in report.refused] == [name]
        assert "lead out of the folder" in report.refused[0].reason
    assert not list(tmp_path.rglob("evil*"))


def test_a_pack_is_plain_parquet(packed):
    table = pq.read_table(packed / "part-00000.parquet")
    assert table.num_rows == 7 and {"key", "label", "width", "height", "stream", "crc32c"} <= set(table.column_names)
    info = PackInfo.from_json(table.schema.metadata[METADATA])
    assert (info.codec, info.quality) == (CODEC, 75)
    columns = table.to_pydict()
    assert columns["width"] == [48] * 7 and columns["label"] == [0] * 6 + [1]
    assert manifest.read(packed).complete


def test_writing_that_fails_leaves_no_half_shard(photos, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MediaError, match="No space left on device"):
        pack(photos, tmp_path / "p", codec=CODEC)
    assert list((tmp_path / "p").iterdir()) == []
