"""What is wrong with the settings of a login to Kafka: a mechanism's settings with another one, and PEM files that cannot be used."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from processor.settings.base import file_fault

_PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_OF_MECHANISM = {  # the settings that only some mechanisms use
    "sasl_username": _PASSWORD_MECHANISMS,
    "sasl_password": _PASSWORD_MECHANISMS,
    "sasl_password_file": _PASSWORD_MECHANISMS,
    "oauth_token_file": ("OAUTHBEARER",),
    "oauth_token_url": ("OAUTHBEARER",),
    "oauth_client_id": ("OAUTHBEARER",),
    "oauth_client_secret": ("OAUTHBEARER",),
    "oauth_client_secret_file": ("OAUTHBEARER",),
    "oauth_scope": ("OAUTHBEARER",),
    "oauth_ca_file": ("OAUTHBEARER",),
    "aws_region": ("AWS_MSK_IAM",),
}
_OF_URL = ("oauth_client_id", "oauth_client_secret", "oauth_client_secret_file", "oauth_scope", "oauth_ca_file")
_NO_LOGIN = "PLAINTEXT", "SSL"
_VERSION, _UTC_TIME, _LONG = 0xA0, 0x17, 0x80  # of DER
_MSK_LIBRARY = "aws_msk_iam_sasl_signer"


def variable_of(name: str) -> str:
    """The variable of a setting of Kafka."""
    return f"VP_KAFKA__{name.upper()}"


def login_faults(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings of SASL, each with its variable; ``values`` are those of the group by name."""
    mechanism, given = values["sasl_mechanism"], [name for name in _OF_MECHANISM if values[name] is not None]
    if values["security_protocol"] in _NO_LOGIN:
        unused = [name for name in given if not name.startswith("sasl_")]
        return [f"{variable_of(name)} is used with VP_KAFKA__SECURITY_PROTOCOL SASL_SSL only" for name in unused]
    faults = [
        f"{variable_of(name)} is used with VP_KAFKA__SASL_MECHANISM {' or '.join(_OF_MECHANISM[name])}, not with {mechanism}"
        for name in given
        if mechanism not in _OF_MECHANISM[name]
    ]
    if mechanism in _PASSWORD_MECHANISMS:
        return faults + _password_faults(values)
    if values["security_protocol"] != "SASL_SSL":
        faults.append(f"VP_KAFKA__SASL_MECHANISM {mechanism} needs VP_KAFKA__SECURITY_PROTOCOL SASL_SSL: a token that is read can be used")
    return faults + (_oauth_faults(values) if mechanism == "OAUTHBEARER" else _msk_faults(values))


def _password_faults(values: Mapping[str, Any]) -> list[str]:
    faults = [] if values["sasl_username"] else ["VP_KAFKA__SASL_USERNAME is missing: SASL needs a user name"]
    return faults + _secret_faults(values, "sasl_password", "SASL needs a password")


def _secret_faults(values: Mapping[str, Any], name: str, why: str) -> list[str]:
    """Whether a secret is missing, or its variable or file is empty; a file that cannot be read is a fault of its own."""
    variable, file = variable_of(name), values[f"{name}_file"]
    if has_secret(values, name) or (values[name] is None and file is not None and file_fault(file)):
        return []
    if values[name] is None and file is not None:
        return [f"{variable}_FILE: {file} is empty: {why}"]
    fault = "is missing" if values[name] is None else "is empty"
    return [f"{variable} {fault} (or set {variable}_FILE): {why}"]


def _oauth_faults(values: Mapping[str, Any]) -> list[str]:
    file, url = values["oauth_token_file"], values["oauth_token_url"]
    if (file is None) == (url is None):
        return ["OAUTHBEARER needs one of VP_KAFKA__OAUTH_TOKEN_FILE and VP_KAFKA__OAUTH_TOKEN_URL"]
    if file is not None:
        unused = [f"{variable_of(name)} is used with VP_KAFKA__OAUTH_TOKEN_URL only" for name in _OF_URL if values[name] is not None]
        return unused + file_faults({"oauth_token_file": file})
    faults = []
    if not _is_https(url):
        faults.append("VP_KAFKA__OAUTH_TOKEN_URL must be https://host/path, without a login in it: a client secret goes there")
    if not values["oauth_client_id"]:
        faults.append("VP_KAFKA__OAUTH_CLIENT_ID is missing: VP_KAFKA__OAUTH_TOKEN_URL needs client credentials")
    faults += _secret_faults(values, "oauth_client_secret", "VP_KAFKA__OAUTH_TOKEN_URL needs client credentials")
    return faults + ca_faults("oauth_ca_file", values["oauth_ca_file"])


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.username is None and not parts.fragment and parts.port != 0
    except ValueError:
        return False


def _msk_faults(values: Mapping[str, Any]) -> list[str]:
    faults = [] if values["aws_region"] else ["AWS_MSK_IAM needs VP_KAFKA__AWS_REGION, e.g. eu-west-1"]
    if importlib.util.find_spec(_MSK_LIBRARY) is None:
        faults.append("AWS_MSK_IAM: what signs for it is not installed: pip install verification-processor[msk]")
    return faults


def has_secret(values: Mapping[str, Any], name: str) -> bool:
    """Whether a secret is there and not empty: in its variable, else in its file."""
    value, file = values[name], values[f"{name}_file"]
    if value is not None:
        return bool(value.get_secret_value().strip())
    if file is None:
        return False
    try:
        return bool(Path(file).read_text(errors="replace").strip())
    except OSError:
        return False


def file_faults(files: Mapping[str, Path | None]) -> list[str]:
    """Which of some files cannot be read, each with its variable."""
    return [f"{variable_of(name)}: {fault}" for name, file in files.items() if file is not None and (fault := file_fault(file))]


def ca_faults(name: str, file: Path | None) -> list[str]:
    """What is wrong with a file of certificate authorities."""
    if file is None or (faults := file_faults({name: file})):
        return [] if file is None else faults
    try:
        ssl.create_default_context(cafile=str(file))
    except (ssl.SSLError, OSError):
        return [f"{variable_of(name)}: {file} holds no certificate in PEM (-----BEGIN CERTIFICATE-----) that can be read"]
    return []


def client_certificate_faults(certificate: Path, key: Path, password: str | None) -> list[str]:
    """What is wrong with a client certificate, its key and the password of the key."""
    if faults := file_faults({"ssl_certificate_file": certificate, "ssl_key_file": key}):
        return faults
    if b"-----BEGIN CERTIFICATE-----" not in certificate.read_bytes():
        faults.append(f"VP_KAFKA__SSL_CERTIFICATE_FILE: {certificate} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    if b"PRIVATE KEY-----" not in key.read_bytes():
        faults.append(f"VP_KAFKA__SSL_KEY_FILE: {key} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)")
    return faults or _pair_faults(certificate, key, password)


def _pair_faults(certificate: Path, key: Path, password: str | None) -> list[str]:
    asked: list[bool] = []
    try:
        load_client_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key, password, lambda: asked.append(True))
    except (ssl.SSLError, OSError, ValueError) as exc:
        if asked and not password:
            return [f"VP_KAFKA__SSL_KEY_FILE: {key} is encrypted, and VP_KAFKA__SSL_KEY_PASSWORD (or _FILE) is missing"]
        if getattr(exc, "reason", None) == "KEY_VALUES_MISMATCH":
            return [f"VP_KAFKA__SSL_KEY_FILE: the key in {key} does not belong to the certificate of VP_KAFKA__SSL_CERTIFICATE_FILE"]
        if asked:
            return [f"VP_KAFKA__SSL_KEY_PASSWORD (or _FILE) does not open {key}"]
        return [f"VP_KAFKA__SSL_CERTIFICATE_FILE, VP_KAFKA__SSL_KEY_FILE: the PEM in {certificate} or {key} cannot be read; was it cut?"]
    return []


def has_expired(certificate: Path) -> bool:
    """Whether a client certificate is over; false where that cannot be read."""
    try:
        text = certificate.read_text(errors="replace")
        begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
        return _not_after(ssl.PEM_cert_to_DER_cert(text[begin:end])) < datetime.now(UTC)
    except (OSError, ValueError, IndexError):
        return False


def _not_after(der: bytes) -> datetime:
    """The end of a certificate: RFC 5280, 4.1. Its fields: version (left out in v1), serial, signature, issuer, validity."""
    certificate = next(_elements(der, 0, len(der)))
    body = next(_elements(der, *certificate[1:]))
    fields = [field for field in islice(_elements(der, *body[1:]), 5) if field[0] != _VERSION]
    _, (tag, begin, end) = islice(_elements(der, *fields[3][1:]), 2)
    digits = der[begin:end].decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 4.1.2.5.1
        digits = f"{'20' if digits < '50' else '19'}{digits}"
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _elements(der: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Tag, begin and end of the content of each element of DER (X.690, 8.1)."""
    while at < end:
        tag, size, begin = der[at], der[at + 1], at + 2
        if size & _LONG:
            count = size & ~_LONG
            size, begin = int.from_bytes(der[begin : begin + count], "big"), begin + count
        yield tag, begin, begin + size
        at = begin + size


def load_client_certificate(
    context: ssl.SSLContext, certificate: Path, key: Path, password: str | None, on_asked: Callable[[], object] | None = None
) -> None:
    """Give a context its client certificate. OpenSSL would ask a terminal for a password that is not given.

    Raises:
        SSLError, OSError: if that cannot be done.
    """

    def answer() -> str:
        if on_asked is not None:
            on_asked()
        return password or ""

    context.load_cert_chain(certificate, key, answer)
