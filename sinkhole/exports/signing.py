"""Detached signatures that minisign verifies: Ed25519 over BLAKE2b, in the formats of minisign(1).

Source: https://jedisct1.github.io/minisign/ (signature format, secret key format). The key is one that
``minisign -G -W`` made: without a password, for the eyes of its owner alone. A signature holds no clock, so the same
file and key give the same one.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sinkhole.errors import SinkholeError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SUFFIX = ".minisig"
#: Octets of a secret key: algorithms (6), salt and limits of a password (48), number (8), seed and public key (32
#: each), a checksum that a key without a password does not have (32).
_SIZE = 158
#: Signatures of Ed25519; no password; a checksum by BLAKE2b.
_PLAIN = b"Ed\0\0B2"
#: Signatures of a file's hash.
_PREHASHED = b"ED"
#: Octets of a key file that are looked at.
_MAX_FILE = 4096


class Key(NamedTuple):
    """A secret key: its ``number``, which signatures name it by, its seed, and the public key."""

    number: bytes
    seed: bytes
    public: bytes

    @property
    def name(self) -> str:
        """The public key in the text that ``minisign -P`` takes."""
        return b64encode(b"Ed" + self.number + self.public).decode()

    def sign(self, pieces: Iterable[bytes], comment: str) -> bytes:
        """The signature file for the content ``pieces``; ``comment`` is signed too."""
        digest = hashlib.blake2b()
        for piece in pieces:
            digest.update(piece)
        secret = _secret(self)
        signature = secret.sign(digest.digest())
        both = secret.sign(signature + comment.encode())
        return (
            b"untrusted comment: signed by sinkhole; the public key is "
            + self.name.encode()
            + b"\n"
            + b64encode(_PREHASHED + self.number + signature)
            + f"\ntrusted comment: {comment}\n".encode()
            + b64encode(both)
            + b"\n"
        )


def read_key(path: Path) -> Key:
    """The key in a file. Raises SinkholeError for one that others may read, that has a password, or that is none."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_FILE)
    except OSError as error:
        raise SinkholeError(f"cannot read {path}: {error.strerror}") from error
    if mode & 0o077:
        raise SinkholeError(f"others than its owner may use {path}; take that away with chmod go= {path}")
    try:
        data = b64decode(text.split(b"\n")[1], validate=True)
    except (IndexError, Error):
        data = b""
    if data[:2] == b"Ed" and data[2:4] == b"Sc":
        raise SinkholeError(f"{path} has a password, which nobody types in a build; make a key with minisign -G -W")
    key = Key(data[54:62], data[62:94], data[94:126])
    if len(data) != _SIZE or data[:6] != _PLAIN or _secret(key).public_key().public_bytes_raw() != key.public:
        raise SinkholeError(f"{path} is no secret key of minisign; make one with minisign -G -W")
    return key


def _secret(key: Key) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # here: few builds sign

    return Ed25519PrivateKey.from_private_bytes(key.seed)
