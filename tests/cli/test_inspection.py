"""What `info`, `verify` and `models` promise."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from enfold.container import peek


def damage(source: str, target: str, at: int = -20) -> None:
    data = bytearray(Path(source).read_bytes())
    data[at] ^= 1
    Path(target).write_bytes(data)


def test_info_tells_header_geometry_and_sections(enfold, coded):
    shown = enfold("info", "photo.enf").stdout
    for text in ("plain, weights", "24 × 32 × 3 uint8", "bpp", "symbols", "parameters 4b"):
        assert text in shown


def test_info_as_json_accounts_for_every_byte(enfold, coded):
    told = json.loads(enfold("info", "photo.enf", "--json").stdout)
    data = Path("photo.enf").read_bytes()
    (entry,) = peek(data).entries
    assert told["codec"] == "plain"
    assert told["medium"] == "image" and told["shape"] == [24, 32, 3] and told["dtype"] == "uint8"
    assert told["bytes"] == len(data) and told["bpp"] == pytest.approx(8 * len(data) / 768)
    assert told["header_bytes"] == entry.start
    assert told["sections"] == [{"kind": "symbols", "start": entry.data_start,
                                 "bytes": entry.data_end - entry.data_start}]


def test_info_reads_folders_and_pipes(enfold, coded):
    assert "photo.enf\n" in enfold("info", ".").stdout
    assert "plain" in enfold("info", "-", stdin=Path("photo.enf").read_bytes()).stdout


@pytest.mark.parametrize("verb", ["info", "verify", "decode"])
def test_damaged_file_gives_exit_code_3(enfold, coded, verb):
    damage("photo.enf", "header.enf", at=8)
    result = enfold(verb, "header.enf")
    assert result.exit_code == 3
    assert "header" in result.output and "checksum mismatch" in result.output


def test_verify_finds_damage_that_info_does_not_look_for(enfold, coded):
    damage("photo.enf", "symbols.enf")
    assert enfold("info", "symbols.enf").exit_code == 0
    assert enfold("verify", "photo.enf").exit_code == 0
    result = enfold("verify", "symbols.enf")
    assert result.exit_code == 3
    assert "symbols.enf: damaged: section 1 (symbols)" in result.stdout


def test_verify_reports_every_file_and_damage_rules_the_exit_code(enfold, coded):
    os.mkdir("in")
    damage("photo.enf", "in/b.enf")
    os.rename("photo.enf", "in/c.enf")
    result = enfold("verify", "in/a.enf", "in")
    assert [line.split(":")[1] for line in result.stdout.splitlines()] == [" not verified", " damaged", " sound"]
    assert result.exit_code == 3                              # though the first was a missing file, 7
    assert enfold("verify", "in/a.enf").exit_code == 7


def test_verify_decodes_on_request_and_finds_missing_weights(enfold, coded, lose_weights):
    assert enfold("verify", "photo.enf", "--decode").exit_code == 0
    lose_weights()
    assert enfold("verify", "photo.enf").exit_code == 0
    result = enfold("verify", "photo.enf", "--decode", "--json")
    assert result.exit_code == 5
    told = json.loads(result.stdout)
    assert told["error"] == "MissingWeightsError"
    assert peek(Path("photo.enf").read_bytes()).header.fingerprint.hex() in told["message"]


def test_models_lists_codecs_with_and_without_weights(enfold, coded, lose_weights):
    mark = peek(Path("photo.enf").read_bytes()).header.fingerprint.hex()
    shown = enfold("models").stdout
    for text in ("plain", mark, "a codec of the tests", "0.61 bpp 33.2 dB, Kodak"):
        assert text in shown
    rows = {row["codec"]: row for row in map(json.loads, enfold("models", "--json").stdout.splitlines())}
    assert rows["plain"]["fingerprint"] == mark
    assert rows["plain"]["measured"][0]["psnr_db"] == 33.25
    lose_weights()
    rows = {row["codec"]: row for row in map(json.loads, enfold("models", "--json").stdout.splitlines())}
    assert rows["plain"]["fingerprint"] is None
