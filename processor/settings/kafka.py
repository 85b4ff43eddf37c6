"""How to reach Kafka."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from processor.settings.base import TOPIC_NAME, Group, secret


class KafkaSettings(Group):
    """How to reach Kafka, and under which names."""

    bootstrap: str = Field(default="127.0.0.1:9092", min_length=1, description="comma-separated host:port of the brokers")
    group: str = Field(
        default="verification-processor", min_length=1, max_length=200, description="consumer group; begins the transactional ids"
    )
    topic_prefix: str = Field(default="verification", pattern=r"^[a-zA-Z0-9._-]{1,100}$", description="all topic names begin with it")
    results_topic: str | None = Field(default=None, pattern=TOPIC_NAME, description="where results go; default <prefix>.results")
    instance_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[a-zA-Z0-9._-]{1,200}$",
        description="group.instance.id: unique and the same after a restart, e.g. the pod name; default the host name",
    )
    leave_on_stop: bool = Field(
        default=True,
        description="leave the group at SIGTERM, so that others take over at once. False where replicas come back under their name at "
        "once (a rolling restart): nothing moves, and their partitions wait for them, for VP_LANES__SESSION_TIMEOUT_S at most",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="as in Kafka's clients"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(default="SCRAM-SHA-512", description="used with SASL_*")
    sasl_username: str | None = Field(default=None, description="used with SASL_*")
    sasl_password: SecretStr | None = Field(default=None, description="used with SASL_*")
    sasl_password_file: Path | None = Field(default=None, description="file that holds the SASL password; instead of the variable")
    ssl_ca_file: Path | None = Field(default=None, description="PEM file of the certificate authorities; default the system's")
    ssl_certificate_file: Path | None = Field(default=None, description="PEM client certificate, for mTLS")
    ssl_key_file: Path | None = Field(default=None, description="PEM key of the client certificate")
    ssl_key_password: SecretStr | None = Field(default=None, description="password of that key")
    on_missing_offsets: Literal["stop", "earliest", "latest"] = Field(
        default="stop",
        description="no offsets on a topic with history, or offsets that no longer exist: a decision for a person",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        faults = []
        if self.security_protocol.startswith("SASL") and (not self.sasl_username or not self.password()):
            faults.append("SASL needs VP_KAFKA__SASL_USERNAME and VP_KAFKA__SASL_PASSWORD (or _FILE)")
        if (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            faults.append("mTLS needs both VP_KAFKA__SSL_CERTIFICATE_FILE and VP_KAFKA__SSL_KEY_FILE")
        files = (self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file)
        faults += [f"{file} cannot be read" for file in files if file and not file.is_file()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def password(self) -> str | None:
        """The SASL password from the variable or the file."""
        return secret(self.sasl_password, self.sasl_password_file)

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client of ours gets."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options |= {"sasl_plain_username": self.sasl_username, "sasl_plain_password": self.password()}
        if self.security_protocol.endswith("SSL"):
            context = ssl.create_default_context(cafile=str(self.ssl_ca_file) if self.ssl_ca_file else None)
            if self.ssl_certificate_file:
                key_password = self.ssl_key_password.get_secret_value() if self.ssl_key_password else None
                context.load_cert_chain(self.ssl_certificate_file, self.ssl_key_file, key_password)
            options["ssl_context"] = context
        return options
