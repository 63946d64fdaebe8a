"""`enfold` answers in a blink, because it imports nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "PIL", "rich", "pywt", "constriction", "safetensors")


def imported(code: str) -> set[str]:
    """Which heavy packages a fresh process has imported at its end."""
    code = f"import sys\ntry: {code}\nfinally: print(*set(sys.modules) & set({HEAVY}), file=sys.stderr)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.split())


def command(*arguments: str) -> str:
    return f"sys.argv = {['enfold', *arguments]!r}; from enfold.cli import main; main()"


def test_face_imports_nothing_heavy():
    assert imported("import enfold") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["encode", "--help"], ["train", "--help"]])
def test_help_imports_no_torch_and_no_numpy(arguments):
    assert imported(command(*arguments)) == set()


@pytest.mark.parametrize("verb", ["info", "verify"])
def test_looking_at_a_file_imports_numpy_at_most(coded, verb):
    assert imported(command(verb, "photo.enf")) <= {"numpy"}


def test_models_and_failing_decodes_import_no_torch(coded):
    with open("damaged.enf", "wb") as file:
        file.write(b"\x9enf\x01damaged")
    assert "torch" not in imported(command("models"))
    assert "torch" not in imported(command("models", "--json"))
    assert "torch" not in imported(command("decode", "damaged.enf"))
