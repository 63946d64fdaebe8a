"""What goes wrong is said in one line, with the exit code that `enfold --help` lists."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

import enfold as face
from enfold import errors


def every(cls: type) -> list[type]:
    return [cls, *(c for sub in cls.__subclasses__() for c in every(sub))]


def test_unknown_codec_is_one_line(enfold, photo):
    photo()
    result = enfold("encode", "photo.png", "-c", "walloc")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("enfold: no codec is called 'walloc'; there are walloc-rgb-16x")


def test_bad_quality_is_one_line_and_ends_it_all(enfold, photo):
    photo("in/a.png")
    photo("in/b.png")
    result = enfold("encode", "in", "-c", "plain", "-q", 500)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("enfold: quality is 500")


def test_missing_file_is_one_line(enfold):
    for verb in ("encode", "decode", "info"):
        result = enfold(verb, "nowhere", *(["-c", "plain"] if verb == "encode" else []))
        assert result.exit_code == 7
        assert result.stderr == "enfold: nowhere: cannot be read: No such file or directory; check the path\n"


def test_missing_weights_give_exit_code_5(enfold, coded, lose_weights):
    lose_weights()
    for arguments in (["decode", "photo.enf", "-f"], ["encode", "photo.png", "-c", "plain", "-f"]):
        result = enfold(*arguments)
        assert result.exit_code == 5
        assert "no weights for 'plain'" in result.stderr


def test_traceback_is_shown_on_request_only(enfold, monkeypatch):
    assert "Traceback" not in enfold("info", "nowhere").stderr
    monkeypatch.setenv("ENFOLD_TRACEBACK", "1")
    assert "Traceback" in enfold("info", "nowhere").stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["encode"], ["encode", "a.png", "-q", "best"], ["info", "--what"]])
def test_wrong_usage_gives_exit_code_2(enfold, arguments):
    result = enfold(*arguments)
    assert result.exit_code == 2 and result.stdout == "" and "Traceback" not in result.stderr


def test_help_documents_every_exit_code(enfold):
    codes = enfold("--help").stdout.partition("Exit codes:")[2]
    documented = set(map(int, re.findall(r"\b\d+(?= [a-z])", codes)))
    assert documented >= {0, 130} | {cls.exit_code for cls in every(errors.EnfoldError)}


@pytest.mark.parametrize("verb", ["encode", "decode", "info", "verify", "models", "train"])
def test_every_verb_has_help_with_examples(enfold, verb):
    result = enfold(verb, "-h")
    assert result.exit_code == 0
    assert verb == "models" or f"enfold {verb} " in result.stdout.partition("Examples:")[2]


def test_version_is_told(enfold):
    assert enfold("--version").stdout == f"enfold {face.__version__}\n"


def test_interruption_gives_exit_code_130(workplace):
    os.mkfifo("pipe")                                        # reading it waits for ever
    process = subprocess.Popen([sys.executable, "-m", "enfold", "info", "pipe"], stderr=subprocess.PIPE)
    writer = os.open("pipe", os.O_WRONLY)                    # returns when the process reads
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    os.close(writer)
    assert (process.returncode, stderr) == (130, b"enfold: interrupted\n")


@pytest.mark.parametrize("arguments", [["info"] + 500 * ["photo.enf"], ["info", "photo.enf"],
                                       ["decode", "photo.enf", "-"]])
def test_reader_that_leaves_early_causes_no_noise(coded, arguments):
    process = subprocess.Popen([sys.executable, "-m", "enfold", *arguments], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(timeout=30)
