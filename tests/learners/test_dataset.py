"""Reading packs: the latents that `enfold.latents` gives, in orders that nobody has to guess."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import enfold
from enfold import registry
from enfold.errors import BitstreamError, UsageError
from enfold.learners import Crop, LatentDataset, LatentStream, Mirror, open_pack, pack
from enfold.testing import sample

from .conftest import CODEC


@pytest.fixture(scope="session")
def as_coded(photos, tmp_path_factory):
    """The same samples under codec coding."""
    out = tmp_path_factory.mktemp("packs") / "coded"
    pack(photos, out, codec=CODEC, coding="codec", shard_rows=5)
    return out


@pytest.mark.parametrize("symbols", [False, True])
def test_a_batch_is_what_latents_gives(photos, packed, as_coded, symbols):
    keys = open_pack(packed).keys()
    chosen = [3, 17, 0, 9, 10]
    for folder in (packed, as_coded):
        batch = LatentDataset(folder, symbols=symbols).batch(chosen)
        for row, latent in zip(chosen, batch.latents, strict=True):
            theirs = enfold.load(CODEC).latents(photos / keys[row])
            assert np.array_equal(latent.numpy(), theirs.symbols if symbols else theirs.values)
        assert batch.labels.tolist() == [row // 6 for row in chosen]
        assert batch.rows.tolist() == chosen


def test_map_style_fits_a_data_loader_and_its_workers(packed):
    dataset = LatentDataset(packed)
    assert len(dataset) == 18 and dataset[-1].rows.tolist() == [17]
    batches = list(dataset.loader(4, shuffle=True, workers=1))
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == list(range(18))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 2]
    with pytest.raises(IndexError):
        dataset[18]


def rows_of(stream) -> list[list[int]]:
    return [batch.rows.tolist() for batch in stream]


def test_stream_sees_every_sample_once_and_shuffles_by_epoch(packed):
    stream = LatentStream(packed, 4, seed=5)
    epochs = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        epochs.append(rows_of(stream))
    assert epochs[0] == epochs[2] != epochs[1]
    for epoch in epochs:
        assert sorted(row for rows in epoch for row in rows) == list(range(18))
    assert len(stream) == len(epochs[0]) == 5
    assert rows_of(LatentStream(packed, 4, shuffle=False))[0] == [0, 1, 2, 3]


def test_ranks_share_the_samples_evenly(packed):
    seen = [rows_of(LatentStream(packed, 2, rank=rank, ranks=4)) for rank in range(4)]
    assert {len(batches) for batches in seen} == {2}
    rows = [row for batches in seen for batch in batches for row in batch]
    assert len(rows) == len(set(rows)) == 16


def test_a_stream_goes_on_where_it_stopped_with_any_number_of_workers(packed):
    whole = rows_of(LatentStream(packed, 4, seed=3))
    stream = LatentStream(packed, 4, seed=3)
    stream.resume(0, 2)
    assert rows_of(stream) == whole[2:]
    assert rows_of(stream.loader(workers=2)) == whole[2:]


def test_a_small_window_reads_few_groups_at_a_time(packed):
    """Rows of one group follow each other, in whatever order."""
    stream = LatentStream(packed, 1, window=1)
    rows = [row for rows in rows_of(stream) for row in rows]
    groups = [int(np.searchsorted([7, 14], row, side="right")) for row in rows]
    assert sum(a != b for a, b in pairwise(groups)) == 2


def test_sizes_that_differ_need_a_crop(tmp_path):
    (tmp_path / "in").mkdir()
    for number, size in enumerate(((32, 32), (48, 40), (64, 33))):
        Image.fromarray(sample(*size)).save(tmp_path / "in" / f"{number}.png")
    pack(tmp_path / "in", tmp_path / "p", codec=CODEC)
    with pytest.raises(UsageError, match=r"transform=Crop"):
        LatentDataset(tmp_path / "p").batch([0, 1])
    dataset = LatentDataset(tmp_path / "p", transform=Crop(4, 4))
    assert dataset.batch([2, 0, 1]).latents.shape == (3, 12, 4, 4)
    with pytest.raises(UsageError, match="smaller than the crop of 5×5"):
        LatentDataset(tmp_path / "p", transform=Crop(5, 5)).batch([0])


def test_a_crop_of_latents_is_the_latent_of_the_crop_but_along_the_cut(tmp_path):
    """Four blocks from the cut on, as far as the 9/7 packets reach, nothing is left of the difference."""
    codec = enfold.load(CODEC)
    picture = sample(240, 240)
    whole = codec.latents(picture).symbols[:, 8:24, 8:24]
    cut = codec.latents(picture[64:192, 64:192]).symbols
    assert np.abs(whole - cut)[:, 4:-4, 4:-4].max() <= 1        # to within rounding
    assert (whole != cut)[:, 4:-4, 4:-4].mean() < 1e-3
    assert np.abs(whole - cut).max() > 1


def test_random_crops_follow_seed_epoch_and_sample(packed):
    dataset = LatentDataset(packed, transform=Crop(2, 2), seed=1)
    first = dataset.batch(range(18)).latents
    assert torch.equal(first, dataset.batch(range(18)).latents)
    dataset.set_epoch(1)
    assert not torch.equal(first, dataset.batch(range(18)).latents)


def test_mirroring_is_refused_where_it_is_not_exact(packed):
    with pytest.raises(UsageError, match="mirroring is not exact for latents of walloc-rgb-16x"):
        LatentDataset(packed, transform=Mirror(codec=CODEC))


def test_a_mirrored_latent_of_this_codec_is_indeed_another():
    """What the refusal rests on: no permutation and signs of the channels would do."""
    codec = enfold.load(CODEC)
    picture = sample(128, 128)
    straight, mirrored = (codec.latents(p, quality=95).values[:, 4:-4, 4:-4] for p in (picture, picture[:, ::-1]))
    flipped = straight[:, :, ::-1]
    for channel in flipped:
        nearest = min(np.abs(sign * channel - other).mean() for other in mirrored for sign in (1, -1))
        if np.abs(channel).mean() > 5 and nearest > 0.3 * np.abs(channel).mean():
            return
    raise AssertionError("every channel of a mirrored latent is one of the mirrored picture's: vouch for it")


def test_mirroring_is_done_where_the_codec_vouches_for_it(packed, monkeypatch):
    half = registry.resolve(registry.entry(CODEC).latents)
    monkeypatch.setattr(half, "mirrored", staticmethod(lambda latent: latent[..., ::-1]), raising=False)
    plain = LatentDataset(packed).batch([0, 1]).latents
    always = LatentDataset(packed, transform=Mirror(1.0, CODEC)).batch([0, 1]).latents
    assert torch.equal(always, plain.flip(-1))


@pytest.mark.parametrize("column", ["stream", "width", "latent_height", "crc32c"])
def test_a_damaged_row_is_named(packed, tmp_path, column):
    table = pq.read_table(packed / "part-00000.parquet")
    values = table[column].to_pylist()
    values[4] = values[4][:9] + bytes([values[4][9] ^ 1]) + values[4][10:] if column == "stream" else values[4] + 1
    damaged = table.set_column(table.column_names.index(column), column,
                               pa.array(values, table.schema.field(column).type))
    pq.write_table(damaged.replace_schema_metadata(table.schema.metadata), tmp_path / "part-00000.parquet")
    with pytest.raises(BitstreamError, match=r"'cat/12.png': checksum mismatch"):
        LatentDataset(tmp_path).batch([3, 4])
    assert len(LatentDataset(tmp_path).batch([3, 5])) == 2


def test_a_damaged_shard_is_named(packed, tmp_path):
    for path in packed.iterdir():
        shutil.copy(path, tmp_path)
    shard = tmp_path / "part-00001.parquet"
    data = bytearray(shard.read_bytes())
    data[900] ^= 64
    shard.write_bytes(data)
    with pytest.raises(BitstreamError, match=r"part-00001.parquet"):
        LatentDataset(tmp_path).batch(range(18))
    shard.write_bytes(data[:-50])
    with pytest.raises(BitstreamError, match=r"part-00001.parquet is missing or not of"):
        LatentDataset(tmp_path)


def test_reading_imports_no_torch_before_the_data_set_does(packed):
    program = (f"import sys; from enfold.learners import open_pack; p = open_pack({str(packed)!r}); "
               "next(p.rows()); sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
