"""Who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "enfold"

# room → the rooms it may import from; a room is a module or a folder of enfold/
MAY_IMPORT = {
    "errors": set(),
    "geometry": {"errors"},
    "container": {"errors", "geometry"},
    "media": {"errors"},
    "sounds": {"errors"},
    "salvage": {"errors", "container"},
    "sections": {"errors", "geometry", "container", "codec", "entropy"},
    "sound_codec": {"errors", "geometry", "container", "codec", "salvage", "sections", "sounds"},
    "registry": {"errors"},
    "entropy": {"errors"},
    "layers": set(),
    "trees": {"errors", "entropy"},
    "strips": {"errors", "geometry", "container", "codec", "entropy"},
    "codec": {"errors", "geometry", "container", "media", "entropy", "salvage"},
    "codecs": {"errors", "geometry", "container", "media", "registry", "codec", "strips", "sections", "sound_codec",
               "entropy", "layers", "trees"},
    "targets": {"errors", "codec", "media"},
    "pretrained": {"errors", "registry", "codec", "media"},
    "learners": {"errors", "geometry", "media", "sounds", "container", "codec", "pretrained", "registry", "entropy",
                 "layers", "trees"},
    "testing": {"errors", "container", "codec", "media", "sound_codec", "testing_sounds"},
    "testing_sounds": {"errors", "container", "salvage", "sound_codec", "sounds", "testing"},
    "bench": {"errors", "geometry", "media", "sounds", "container", "registry", "entropy", "layers",
              "learners", "trees"},
    "cli": None,            # the public face and what hangs on it
    "__init__": None,
    "__main__": {"cli"},
}


def imports(path: Path) -> set[str]:
    """Rooms of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "enfold" else [f"enfold.{a.name}" for a in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("enfold.")}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_their_direction(path):
    allowed = MAY_IMPORT[room(path)]
    if allowed is not None:
        assert imports(path) <= allowed | {room(path)}


def test_codec_families_do_not_import_each_other():
    for path in (ROOT / "codecs").glob("*.py"):
        family = path.stem.split("_")[0]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("enfold.codecs."):
                assert node.module.split(".")[2].split("_")[0] == family, path.name


def test_learners_name_no_codec_family():
    families = {path.stem.split("_")[0] for path in (ROOT / "codecs").glob("*.py")} - {""}
    for path in (ROOT / "learners").glob("*.py"):
        code = ast.parse(path.read_text("utf-8"))
        names = {n.module or "" for n in ast.walk(code) if isinstance(n, ast.ImportFrom)}
        assert not any(family in name for family in families for name in names), path.name


@pytest.mark.parametrize("module", ["enfold", "enfold.container", "enfold.registry", "enfold.pretrained",
                                    "enfold.codec", "enfold.entropy.coders", "enfold.codecs.walloc_latents",
                                    "enfold.codecs.hyper_latents", "enfold.codecs.circuit_latents",
                                    "enfold.codecs.walloc_sound_latents", "enfold.sounds",
                                    "enfold.codecs.mcquic_latents", "enfold.codecs.vqgan_latents"])
def test_importing_needs_no_torch(module):
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_face_imports_nothing_heavy():
    program = "import sys, enfold; sys.exit(bool({'torch', 'numpy', 'PIL', 'typer', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_files_stay_readable():
    """Above 400 lines a file is split by concept."""
    assert {p.name: n for p in FILES if (n := len(p.read_text("utf-8").splitlines())) > 400} == {}


def test_no_name_of_the_face_is_hidden_by_a_module():
    """A submodule becomes an attribute of its package when it is imported, over whatever had the name."""
    import enfold

    modules = {path.name.removesuffix(".py") for path in ROOT.iterdir()}
    assert not modules & set(enfold.__all__)
