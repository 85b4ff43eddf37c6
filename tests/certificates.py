"""Certificates for tests, made by openssl: authorities, and what they sign."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")  # RSA keys take a second each


def need_openssl() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here (apt-get install openssl)")


def openssl(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True).stdout


def authority(folder: Path, name: str = "ca", *more: str) -> None:
    """``<name>.pem`` and ``<name>.key``, signed by itself."""
    openssl(folder, "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", *more)


def certificate(folder: Path, name: str, *, by: str = "ca", names: str = "IP:127.0.0.1,DNS:localhost", days: int = 2) -> None:
    """``<name>.pem`` and ``<name>.key``."""
    (folder / "san.cnf").write_text(f"subjectAltName={names}\n")
    openssl(folder, "req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    signing = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", str(days), "-extfile", "san.cnf"]
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")


def broker_store(folder: Path, name: str = "broker") -> str:
    """The path of key and certificate in one file, as a broker reads them."""
    openssl(folder, "pkcs8", "-topk8", "-nocrypt", "-in", f"{name}.key", "-out", f"{name}.p8")
    store = folder / f"{name}-store.pem"
    store.write_text((folder / f"{name}.p8").read_text() + (folder / f"{name}.pem").read_text())
    return str(store)
