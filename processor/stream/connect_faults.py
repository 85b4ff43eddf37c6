"""Why a connection to Kafka fails: one code and one text for each cause that a person can repair."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum

from aiokafka import errors

from processor.settings import KafkaSettings
from processor.settings.kafka_login import has_expired
from processor.stream.oauth_tokens import TokenError

_REFUSED = (errors.SaslAuthenticationFailed, errors.AuthenticationFailedError)
_NOT_OFFERED = (errors.AuthenticationMethodNotSupported, errors.UnsupportedSaslMechanismError, errors.IllegalSaslStateError)
# the connection ended during the handshake; that says nothing about certificates
TLS_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_EXPIRED, _NAME, _ADDRESS = 10, 62, 64
_CLIENT_FILES = "VP_KAFKA__SSL_CERTIFICATE_FILE and VP_KAFKA__SSL_KEY_FILE"


class ConnectFaultCode(StrEnum):
    """Stable; ``/readyz`` and the log name them."""

    CREDENTIALS_REFUSED = "credentials_refused"
    MECHANISM_NOT_OFFERED = "mechanism_not_offered"
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a code
    TOKEN_UNAVAILABLE = "token_unavailable"  # noqa: S105 - a code
    BROKER_NOT_TRUSTED = "broker_not_trusted"
    BROKER_NAME_WRONG = "broker_name_wrong"
    BROKER_CERTIFICATE_EXPIRED = "broker_certificate_expired"
    CLIENT_CERTIFICATE_EXPIRED = "client_certificate_expired"
    CLIENT_CERTIFICATE_REFUSED = "client_certificate_refused"
    TLS_CUT = "tls_cut"
    TLS_FAILED = "tls_failed"
    TLS_EXPECTED = "tls_expected"


@dataclass(frozen=True, slots=True)
class ConnectFault:
    """Why, and what to do.

    Attributes:
        code: for programs.
        text: goes on behind "Kafka at host:port: ".
        lasting: it may not heal by itself; a start is refused, and a running process waits for a person.
    """

    code: ConnectFaultCode
    text: str
    lasting: bool = True


class TlsCutError(errors.KafkaConnectionError):  # type: ignore[misc]
    """The other side took the connection and ended it during the TLS handshake."""


class TlsAnswerError(errors.KafkaConnectionError):  # type: ignore[misc]
    """The other side answered a request in the clear with a record of TLS."""


class HttpAnswerError(errors.KafkaConnectionError):  # type: ignore[misc]
    """The other side answered in HTTP. No fault of ours by itself: a proxy says so, too, while it has no broker behind it."""


class NoTokenError(errors.KafkaConnectionError):  # type: ignore[misc]
    """There is no token to log in with.

    Attributes:
        why: from where the token was to come.
    """

    def __init__(self, why: TokenError) -> None:
        super().__init__(str(why))
        self.why = why


def is_tls_refusal(error: BaseException) -> bool:
    """Whether a TLS handshake was refused, by either side."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, TLS_CUT)


def connect_fault_of(error: BaseException, kafka: KafkaSettings) -> ConnectFault | None:
    """What a failed connection means; None if nobody was there, or nobody answered."""
    if isinstance(error, NoTokenError):
        code = ConnectFaultCode.TOKEN_REFUSED if error.why.lasting else ConnectFaultCode.TOKEN_UNAVAILABLE
        return ConnectFault(code, f"no login, for want of a token: {error.why}", error.why.lasting)
    if isinstance(error, _NOT_OFFERED):
        text = f"the listener takes no logins with {kafka.sasl_mechanism} ({type(error).__name__}). Check VP_KAFKA__SASL_MECHANISM"
        return ConnectFault(ConnectFaultCode.MECHANISM_NOT_OFFERED, f"{text}, and that the port of VP_KAFKA__BOOTSTRAP is that listener's")
    if isinstance(error, _REFUSED):
        text = f"refuses the login with {kafka.sasl_mechanism} ({type(error).__name__}). {_credentials_hint(kafka)}"
        return ConnectFault(ConnectFaultCode.CREDENTIALS_REFUSED, text)
    if isinstance(error, TlsAnswerError):
        text = "the port speaks TLS, and we do not. Set VP_KAFKA__SECURITY_PROTOCOL to SSL or SASL_SSL"
        return ConnectFault(ConnectFaultCode.TLS_EXPECTED, text)
    if isinstance(error, TlsCutError):
        text = (
            "ended the connection during the TLS handshake. If the brokers are up, that port speaks no TLS: check the port of "
            "VP_KAFKA__BOOTSTRAP and VP_KAFKA__SECURITY_PROTOCOL"
        )
        return ConnectFault(ConnectFaultCode.TLS_CUT, text, lasting=False)
    return _certificate_fault(error, kafka) if is_tls_refusal(error) else None


def _credentials_hint(kafka: KafkaSettings) -> str:
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return (
            "Check that the brokers accept the token's issuer, audience, signature and time, and VP_KAFKA__OAUTH_TOKEN_FILE, or "
            "VP_KAFKA__OAUTH_CLIENT_ID and VP_KAFKA__OAUTH_SCOPE"
        )
    if kafka.sasl_mechanism == "AWS_MSK_IAM":
        return "Check that the role may kafka-cluster:Connect to this cluster, and VP_KAFKA__AWS_REGION"
    return "Check VP_KAFKA__SASL_USERNAME, VP_KAFKA__SASL_PASSWORD (or its _FILE) and VP_KAFKA__SASL_MECHANISM"


def _certificate_fault(error: BaseException, kafka: KafkaSettings) -> ConnectFault:
    reason = getattr(error, "reason", None) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        match getattr(error, "verify_code", None):
            case code if code in (_NAME, _ADDRESS):
                text = (
                    "the brokers' certificate is for another name. VP_KAFKA__BOOTSTRAP and advertised.listeners must hold a name of the "
                    "certificate (its subjectAltName)"
                )
                return ConnectFault(ConnectFaultCode.BROKER_NAME_WRONG, text)
            case code if code == _EXPIRED:
                text = "the brokers' certificate has expired, or the clock of this machine is wrong. Renew it there"
                return ConnectFault(ConnectFaultCode.BROKER_CERTIFICATE_EXPIRED, text)
        given = str(kafka.ssl_ca_file) if kafka.ssl_ca_file else "the system's, as it is not set"
        text = f"the brokers' certificate is not signed by an authority that we trust ({reason}). Check VP_KAFKA__SSL_CA_FILE ({given})"
        return ConnectFault(ConnectFaultCode.BROKER_NOT_TRUSTED, text)
    if "ALERT" in reason:
        if kafka.ssl_certificate_file is not None and has_expired(kafka.ssl_certificate_file):
            text = f"our client certificate {kafka.ssl_certificate_file} (VP_KAFKA__SSL_CERTIFICATE_FILE) has expired. Renew it"
            return ConnectFault(ConnectFaultCode.CLIENT_CERTIFICATE_EXPIRED, text)
        text = f"the brokers do not take our client certificate ({reason}): signed by another authority, or none is given. Check "
        return ConnectFault(ConnectFaultCode.CLIENT_CERTIFICATE_REFUSED, text + _CLIENT_FILES)
    text = (
        f"no TLS connection comes about ({reason}). Check VP_KAFKA__SSL_CA_FILE, {_CLIENT_FILES}, and that the listener speaks TLS, "
        "in a version that both sides know"
    )
    return ConnectFault(ConnectFaultCode.TLS_FAILED, text)
