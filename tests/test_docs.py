"""The examples in the documents run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from enfold.sounds import write_sound
from enfold.testing import sample
from enfold.testing_sounds import sample_sound

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [pytest.param(code, id=f"{path.name}-{number}") for path in DOCUMENTS
            for number, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.S), 1)]


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(sample(200, 300)).save("photo.png")
    write_sound(sample_sound(44100), "song.wav")
    exec(compile(code, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"
