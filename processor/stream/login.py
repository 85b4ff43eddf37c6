"""The credentials for Kafka, read from files and the token endpoint; one for all clients of a process with the same settings.

Secrets change while we run: a password or a token file is replaced, a certificate renewed. Each new connection, and each
re-authentication of an old one (KIP-368), takes what is there then.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from processor.settings import KafkaSettings
from processor.stream.connect_faults import ConnectFault, NoTokenError, connect_fault_of
from processor.stream.oauth_tokens import TokenError, token_source

log = logging.getLogger(__name__)  # not structlog: callers' services import this with the client
_Stamp = tuple[int, int, int] | None


class Login(AbstractTokenProvider):  # type: ignore[misc]
    """What a connection shows and trusts. It goes to aiokafka's clients as their token provider, whatever the mechanism is.

    Attributes:
        fault: why the last connection did not come about; None once one did, or where nobody was there.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self.fault: ConnectFault | None = None
        self._kafka = kafka
        self._tokens = token_source(kafka)
        self._password = kafka.password()
        self._context: ssl.SSLContext | None = None
        self._stamps: tuple[_Stamp, ...] = ()

    @property
    def uses_tokens(self) -> bool:
        """Whether logins need a token."""
        return self._tokens is not None

    def password(self) -> str | None:
        """The password; the last one while its file is being replaced."""
        with suppress(OSError):
            self._password = self._kafka.password() or self._password
        return self._password

    async def token(self) -> str:
        """A token for a login.

        Raises:
            NoTokenError: if there is none.
        """
        try:
            return await self._tokens.token() if self._tokens is not None else ""
        except TokenError as exc:
            raise NoTokenError(exc) from exc

    def ssl_context(self) -> ssl.SSLContext | None:
        """For the next connection: of the files as they are, or of those before while they do not fit each other. None without TLS."""
        if not self._kafka.is_tls:
            return None
        stamps = tuple(_stamp(file) for file in self._files())
        if self._context is None:
            self._context, self._stamps = self._kafka.ssl_context(), stamps
        elif stamps != self._stamps:
            try:
                self._context, self._stamps = self._kafka.ssl_context(), stamps
                log.info("kafka_certificates_read_again")
            except (ssl.SSLError, OSError, ValueError) as exc:
                log.warning("kafka_certificates_unusable", extra={"code": getattr(exc, "reason", None) or type(exc).__name__})
        return self._context

    def connected(self) -> None:
        """A connection was made."""
        if self.fault is not None:
            log.warning("kafka_connects_again")
            self.fault = None

    def failed(self, error: BaseException) -> None:
        """A connection failed."""
        fault = connect_fault_of(error, self._kafka)
        if fault is not None and (self.fault is None or self.fault.code != fault.code):
            log.error("kafka_connection_refused", extra={"code": str(fault.code), "detail": fault.text})
        self.fault = fault or self.fault

    def _files(self) -> list[Path]:
        k = self._kafka
        return [file for file in (k.ssl_ca_file, k.ssl_certificate_file, k.ssl_key_file, k.ssl_key_password_file) if file is not None]


@lru_cache(maxsize=16)  # of a process that serves callers with several settings; a further one begins again
def login_of(kafka: KafkaSettings) -> Login:
    """The login of these settings."""
    return Login(kafka)


def connect_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client of ours gets."""
    login = login_of(kafka)
    return kafka.client_options(login.ssl_context()) | {"sasl_oauth_token_provider": login}


def _stamp(file: Path) -> _Stamp:
    """Changes when a file is replaced, or the link that leads to it (as Kubernetes does it)."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
