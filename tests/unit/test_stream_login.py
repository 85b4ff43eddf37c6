"""One login for all clients of the same settings, as its files are now; and why a connection did not come about."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest
from aiokafka import errors
from certificates import authority, certificate

from processor.settings import KafkaSettings
from processor.stream.connect_faults import ConnectFaultCode, NoTokenError, TlsAnswerError, TlsCutError, connect_fault_of
from processor.stream.login import Login, connect_options, login_of
from processor.stream.oauth_tokens import TokenError


def _verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code = code
    return error


def _alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "x")
    error.reason = reason
    return error


FAULTS = [
    (errors.SaslAuthenticationFailed("x"), ConnectFaultCode.CREDENTIALS_REFUSED, True),
    (errors.UnsupportedSaslMechanismError("x"), ConnectFaultCode.MECHANISM_NOT_OFFERED, True),
    (errors.IllegalSaslStateError("x"), ConnectFaultCode.MECHANISM_NOT_OFFERED, True),
    (NoTokenError(TokenError("x", lasting=True)), ConnectFaultCode.TOKEN_REFUSED, True),
    (NoTokenError(TokenError("x", lasting=False)), ConnectFaultCode.TOKEN_UNAVAILABLE, False),
    (_verification(20), ConnectFaultCode.BROKER_NOT_TRUSTED, True),
    (_verification(64), ConnectFaultCode.BROKER_NAME_WRONG, True),
    (_verification(10), ConnectFaultCode.BROKER_CERTIFICATE_EXPIRED, True),
    (_alert("SSLV3_ALERT_CERTIFICATE_UNKNOWN"), ConnectFaultCode.CLIENT_CERTIFICATE_REFUSED, True),
    (_alert("UNSUPPORTED_PROTOCOL"), ConnectFaultCode.TLS_FAILED, True),
    (TlsCutError("x"), ConnectFaultCode.TLS_CUT, False),
    (TlsAnswerError("x"), ConnectFaultCode.TLS_EXPECTED, True),
]


@pytest.mark.parametrize(("error", "code", "lasting"), FAULTS, ids=lambda value: str(value)[:40])
def test_each_cause_has_a_code_of_its_own(error: Exception, code: ConnectFaultCode, lasting: bool) -> None:
    fault = connect_fault_of(error, KafkaSettings())
    assert fault is not None
    assert (fault.code, fault.lasting) == (code, lasting)


def test_nobody_there_is_no_fault_of_a_login() -> None:
    assert connect_fault_of(ConnectionRefusedError(), KafkaSettings()) is None
    assert {code for _, code, _ in FAULTS} == set(ConnectFaultCode) - {ConnectFaultCode.CLIENT_CERTIFICATE_EXPIRED}


def test_clients_of_the_same_settings_share_a_login(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("old\n")
    kafka = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "app", "sasl_password_file": tmp_path / "password"}
    login = login_of(KafkaSettings(**kafka, instance_id="a"))
    assert connect_options(KafkaSettings(**kafka, instance_id="a"))["sasl_oauth_token_provider"] is login
    (tmp_path / "password").write_text("new\n")
    assert login.password() == "new"
    (tmp_path / "password").unlink()
    assert login.password() == "new"
    (tmp_path / "password").symlink_to("/proc/self/mem")  # a file of which no byte can be read
    assert login.password() == "new"


def test_a_renewed_certificate_makes_a_new_context_and_half_a_pair_does_not(tmp_path: Path) -> None:
    authority(tmp_path, "ca")
    for name in ("client", "next", "expired"):
        certificate(tmp_path, name, days=0 if name == "expired" else 2)
    kafka = KafkaSettings(
        security_protocol="SSL",
        ssl_ca_file=tmp_path / "ca.pem",
        ssl_certificate_file=tmp_path / "client.pem",
        ssl_key_file=tmp_path / "client.key",
    )
    login = Login(kafka)
    first = login.ssl_context()
    assert login.ssl_context() is first
    shutil.copy(tmp_path / "next.pem", tmp_path / "client.pem")
    assert login.ssl_context() is first
    shutil.copy(tmp_path / "next.key", tmp_path / "client.key")
    second = login.ssl_context()
    assert second not in (first, None)
    assert login.ssl_context() is second
    shutil.copy(tmp_path / "expired.pem", tmp_path / "client.pem")
    fault = connect_fault_of(_alert("SSLV3_ALERT_CERTIFICATE_UNKNOWN"), kafka)
    assert fault is not None
    assert fault.code == ConnectFaultCode.CLIENT_CERTIFICATE_EXPIRED


def test_a_fault_is_kept_until_a_connection_comes_about() -> None:
    login = Login(KafkaSettings())
    login.failed(errors.SaslAuthenticationFailed("x"))
    login.failed(ConnectionRefusedError())
    assert login.fault is not None
    assert login.fault.code == ConnectFaultCode.CREDENTIALS_REFUSED
    login.connected()
    assert login.fault is None


def test_each_code_is_documented() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text()
    assert [code for code in ConnectFaultCode if f"`{code}`" not in page] == []
