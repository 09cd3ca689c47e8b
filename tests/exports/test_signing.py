"""Signatures, by the program that made their format."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sinkhole.errors import SinkholeError
from sinkhole.exports.signing import read_key

MADE = "untrusted comment: minisign encrypted secret key\n"


@pytest.fixture
def key(tmp_path: Path, peer: Callable[[str], str]) -> Path:
    """A secret key without a password; ``public`` beside it is its other half."""
    path = tmp_path / "secret"
    subprocess.run(
        [peer("minisign"), "-G", "-W", "-p", tmp_path / "public", "-s", path], check=True, capture_output=True
    )
    return path


def test_minisign_verifies_a_signature_and_its_comment(key: Path, tmp_path: Path, peer: Callable[[str], str]) -> None:
    signer = read_key(key)
    (tmp_path / "file").write_bytes(b"one two")
    (tmp_path / "file.minisig").write_bytes(signer.sign([b"one ", b"two"], "file:a\tversion:b"))
    verify = [peer("minisign"), "-Vm", str(tmp_path / "file"), "-P", signer.name]
    said = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert "Trusted comment: file:a\tversion:b\n" in said.stdout
    assert signer.name in key.with_name("public").read_text()
    (tmp_path / "file").write_bytes(b"one  two")
    assert subprocess.run(verify, capture_output=True, check=False).returncode
    assert signer.sign([b"one two"], "c") == read_key(key).sign([b"one two"], "c")


def test_a_key_that_others_may_read_is_refused(key: Path) -> None:
    key.chmod(0o640)
    with pytest.raises(SinkholeError, match=r"others than its owner may use .*/secret; .* chmod go= "):
        read_key(key)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is no secret key of minisign"),
        (b"x\n" + b"A" * 212 + b"\n", "is no secret key of minisign"),
        (b"x\n\xff\xfe\n", "is no secret key of minisign"),
        (b"x\nRWRTY0Iy" + b"A" * 204 + b"\n", "has a password"),
        (b"\n" * 100_000, "is no secret key of minisign"),
    ],
    ids=["empty", "zeros", "octets", "password", "large"],
)
def test_what_is_no_key_is_told(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(SinkholeError, match=f"^{re.escape(str(path))} {why}.*minisign -G -W$"):
        read_key(path)


def test_a_key_whose_halves_do_not_fit_is_refused(key: Path) -> None:
    """Signatures by it would verify with no public key."""
    line = key.read_text().split("\n")[1]
    damaged = line[:160] + ("B" if line[160] == "A" else "A") + line[161:]
    key.write_text(MADE + damaged + "\n")
    with pytest.raises(SinkholeError, match="is no secret key"):
        read_key(key)


def test_a_key_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SinkholeError, match=f"cannot read {tmp_path}/key: No such file"):
        read_key(tmp_path / "key")
