"""A certificate authority in a directory, by the openssl program. Knows nothing of who uses the certificates."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .console import run

_DAYS = "3650"


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM files."""

    certificate: Path
    key: Path

    @property
    def exists(self) -> bool:
        """Whether both files are there."""
        return self.certificate.exists() and self.key.exists()


class CertificateAuthority:
    """Issues certificates into its own directory; what exists is kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.own = self.pair("ca")

    def pair(self, name: str) -> KeyPair:
        """The places of a certificate and key of this name, made or not."""
        return KeyPair(self._directory / f"{name}.crt", self._directory / f"{name}.key")

    def create(self) -> None:
        """Make the authority's own key and certificate."""
        if self.own.exists:
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_private_key(self.own.key)
        words: list[str | Path] = ["openssl", "req", "-x509", "-new", "-key", self.own.key, "-days", _DAYS]
        words += ["-subj", "/CN=vidbench-local-ca", "-out", self.own.certificate]
        for extension in ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"):
            words += ["-addext", extension]
        run(words, doing="making the certificate authority")

    def issue(
        self, name: str, common_name: str, organizations: Sequence[str] = (), alternative_names: Sequence[str] = ()
    ) -> KeyPair:
        """Return a certificate good for both ends of TLS; make it if this name has none yet."""
        pair = self.pair(name)
        if pair.exists:
            return pair
        create_private_key(pair.key)
        request, extensions = pair.key.with_suffix(".csr"), pair.key.with_suffix(".ext")
        extensions.write_text(extension_text(alternative_names))
        run(
            ["openssl", "req", "-new", "-key", pair.key, "-subj", subject(common_name, organizations), "-out", request],
            doing=f"asking for a certificate for {common_name}",
        )
        words: list[str | Path] = ["openssl", "x509", "-req", "-in", request, "-out", pair.certificate, "-days", _DAYS]
        words += ["-CA", self.own.certificate, "-CAkey", self.own.key, "-extfile", extensions]
        words += ["-set_serial", f"0x{secrets.token_hex(16)}"]
        run(words, doing=f"signing a certificate for {common_name}")
        request.unlink()
        extensions.unlink()
        return pair


def create_private_key(path: Path) -> None:
    """Make an elliptic-curve key that only its owner can read."""
    path.touch(mode=0o600)
    run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path],
        doing=f"making the key {path.name}",
    )


def create_public_key(private_key: Path, public_key: Path) -> None:
    """Write the public half of a private key."""
    run(["openssl", "pkey", "-in", private_key, "-pubout", "-out", public_key], doing=f"making {public_key.name}")


def subject(common_name: str, organizations: Sequence[str]) -> str:
    """Spell a subject for openssl: in Kubernetes the organisations are groups and the common name is the user."""
    parts = [("O", organization) for organization in organizations] + [("CN", common_name)]
    return "".join(f"/{kind}=" + re.sub(r"([/\\+=])", r"\\\1", value) for kind, value in parts)


def extension_text(alternative_names: Sequence[str]) -> str:
    """Spell the extensions of a leaf certificate for openssl."""
    lines = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth,clientAuth",
    ]
    if alternative_names:
        lines.append("subjectAltName=" + ",".join(_alternative_name(name) for name in alternative_names))
    return "\n".join(lines) + "\n"


def _alternative_name(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"
