"""Documents: what their files say, folds that keep a company together, and a reader of made pages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from enfold.errors import FingerprintError, MediaError, UsageError
from enfold.learners import DocumentReader, Pages, Schedule
from enfold.learners.documents import FIELDS, Document, Line, cells_of, field_of, folds_of, read_documents
from enfold.learners.samples import Origin

SAID = {"company": "INDAH GIFT & HOME DECO", "date": "19/10/2018", "address": "27, JALAN DEDAP 13, 81100 JOHOR BAHRU",
        "total": "60.30"}


@pytest.mark.parametrize(("text", "field"), [
    ("INDAH GIFT & HOME DECO", "company"), ("INDAH GIFT", "company"), ("27,JALAN DEDAP 13,", "address"),
    ("19/10/2018 20:49:59 #01", "date"), ("TOTAL RM 60.30", "total"), ("RM60.30", "total"), ("160.30", "other"),
    ("60.301", "other"), ("60.31", "other"), ("13,", "other"), ("CASHIER: CN", "other"), ("", "other")])
def test_a_line_tells_the_field_whose_value_it_holds(text, field):
    assert FIELDS[field_of(text, SAID)] == field


def test_documents_are_read_with_their_lines(tmp_path):
    Image.new("L", (64, 48), 255).save(tmp_path / "a.png")
    box = [10, 8, 50, 9, 50, 20, 10, 21]
    (tmp_path / "a.json").write_text(json.dumps({"fields": SAID, "lines": [{"box": box, "text": "60.30"}]}))
    document, = read_documents(tmp_path)
    assert (document.width, document.height, document.group) == (64, 48, "INDAHGIFTHOMEDECO")
    assert document.lines == (Line((10, 8, 50, 21), "60.30", FIELDS.index("total")),)


@pytest.mark.parametrize("said", ["not json", "{}", '{"fields": {}, "lines": [{"box": [1, 2], "text": ""}]}', "[]"])
def test_what_is_no_document_is_named(tmp_path, said):
    Image.new("L", (64, 48)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(said)
    with pytest.raises(MediaError, match=r"a\.json: not fields and lines"):
        read_documents(tmp_path)
    (tmp_path / "a.json").unlink()
    with pytest.raises(MediaError, match=r"each picture needs its \.json"):
        read_documents(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(UsageError, match="holds no pictures of documents"):
        read_documents(tmp_path)


def _documents(groups):
    return [Document(None, 8, 8, (), group) for group in groups]


def test_a_company_is_never_on_both_sides_of_a_test():
    groups = [*"aaabbcdefg"]
    folds = folds_of(_documents(groups), 4)
    assert sorted(number for fold in folds for number in fold) == list(range(10))
    assert {len(fold) for fold in folds} <= {2, 3}
    for group in set(groups):
        assert sum(group in {groups[number] for number in fold} for fold in folds) == 1
    with pytest.raises(UsageError, match="9 folds of 7 groups"):
        folds_of(_documents(groups), 9)


def test_each_line_has_a_cell_and_the_smaller_one_the_cells_of_both():
    lines = (Line((0, 0, 40, 24), "wide", 0), Line((9, 9, 11, 11), "dot", 4), Line((38, 38, 90, 90), "beyond", 1))
    cells = cells_of(Document(None, 40, 40, lines, ""), 5, 5, 8)
    assert set(np.unique(cells[0])) == {-1, 0, 1, 2} and cells[0, 1, 1] == 1 and cells[1, 1, 1] == 4
    assert (cells[0, :3] == 0).sum() == 14 and cells[0, 4, 4] == 2 and (cells[0, 3] == -1).all()


def made(count=16, patch=1, seed=0, rows=8):
    """Pages whose text is bright, and whose lines tell by their brightness what they are; of several sizes."""
    random = np.random.default_rng(seed)
    pages, targets = [], []
    for number in range(count):
        high, wide = 16 + number % 3, 12
        cells = np.full((2, high, wide), -1, np.float32)
        page = random.normal(0, 0.3, (2, high, wide)).astype(np.float32)
        for line, row in enumerate(range(1, high - 1, 3)):
            field = int(random.integers(len(FIELDS)))
            begin = int(random.integers(0, 5))
            cells[:, row, begin:begin + 6] = [[line], [field]]
            page[0, row, begin:begin + 6] += 4
            page[1, row, begin:begin + 6] += 2 * field
        pages.append(page.repeat(patch, 1).repeat(patch, 2))
        targets.append(cells)
    return Pages(pages, targets, Origin("made", "0a", 75), patch, rows)


SHORT = Schedule(epochs=25, batch_size=4, learning_rate=6e-3)


@pytest.fixture(scope="module")
def fitted():
    return DocumentReader(features=8, depth=1, schedule=SHORT).fit(made(20, rows=0))


def test_a_few_steps_read_pages_never_seen(fitted):
    score = fitted.score(made(6, seed=1))
    assert score.text_f1 > 0.85 and score.field_accuracy > 0.8 and score.field_f1 > 0.8
    read = fitted.predict(made(6, seed=1))
    assert [page.text.shape for page in read] == [(16, 12), (17, 12), (18, 12)] * 2 and len(read[0].fields) == 5


def test_patches_of_pixels_are_read_by_the_same_network(fitted):
    reader = DocumentReader(features=8, depth=1, schedule=Schedule(epochs=4, batch_size=4)).fit(made(patch=2))
    assert [page.text.shape for page in reader.predict(made(2, 2))] == [(16, 12), (17, 12)]
    ours, theirs = (dict(learner.network_.named_parameters()) for learner in (fitted, reader))
    assert {name for name in ours if ours[name].shape != theirs[name].shape} == {"embed.weight"}


def test_saved_and_loaded_it_reads_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "reader.safetensors")
    loaded = DocumentReader.load(tmp_path / "reader.safetensors")
    for one, other in zip(loaded.predict(made(3)), fitted.predict(made(3)), strict=True):
        assert (one.text == other.text).mean() > 0.99 and (one.fields == other.fields).all()


def test_pages_of_other_weights_are_refused(fitted):
    pages = made(2)
    with pytest.raises(FingerprintError, match="it was fitted on latents of those weights"):
        fitted.predict(Pages(pages.inputs, pages.targets, Origin("made", "0b", 75)))
    with pytest.raises(UsageError, match="fitted on made at quality 75, and this is made at quality 30"):
        fitted.predict(Pages(pages.inputs, pages.targets, Origin("made", "0a", 30)))


def test_what_cannot_be_learnt_from_is_refused(fitted):
    pages = made(2)
    with pytest.raises(UsageError, match=r"with patches of 2 it is \(C, h, w\)"):
        Pages(pages.inputs, pages.targets, pages.origin, 2)
    with pytest.raises(UsageError, match="2 pages and targets of 1"):
        Pages(pages.inputs, pages.targets[:1], pages.origin)
    with pytest.raises(UsageError, match="no page holds a line"):
        DocumentReader(schedule=SHORT).fit(Pages(pages.inputs, [np.full_like(cells, -1) for cells in pages.targets],
                                                 pages.origin))
    with pytest.raises(UsageError, match="this documentreader was not fitted"):
        DocumentReader().score(pages)


def test_cells_beyond_a_page_are_neither_text_nor_none(fitted):
    pages = made(3)
    examples, = pages.examples(3)
    assert examples.inputs.shape == (3, 4, 18, 12) and (examples.targets[0, :, 16:] == -2).all()
    assert (examples.targets[2] > -2).all()
    windows = list(pages.examples(3, shuffle=True, epoch=1))
    assert windows[0].inputs.shape == (3, 4, 8, 12) and (windows[0].targets > -2).all()
