"""How to reach Kafka."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from processor.settings.base import TOPIC_NAME, Group, given_twice, refuse, secret
from processor.settings.kafka_login import ca_faults, client_certificate_faults, file_faults, load_client_certificate, login_faults

_SECRETS = ("sasl_password", "oauth_client_secret", "ssl_key_password")


class KafkaSettings(Group):
    """How to reach Kafka, and under which names."""

    bootstrap: str = Field(default="127.0.0.1:9092", min_length=1, description="comma-separated host:port of the brokers")
    group: str = Field(
        default="verification-processor",
        min_length=1,
        max_length=200,
        description="consumer group; also the prefix of the transactional ids",
    )
    topic_prefix: str = Field(default="verification", pattern=r"^[a-zA-Z0-9._-]{1,100}$", description="prefix of all topic names")
    results_topic: str | None = Field(default=None, pattern=TOPIC_NAME, description="results topic; default <prefix>.results")
    instance_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[a-zA-Z0-9._-]{1,200}$",
        description="group.instance.id: unique and the same after a restart, e.g. the pod name; default the host name",
    )
    leave_on_stop: bool = Field(
        default=True,
        description="leave the group at SIGTERM, so that others take over at once. Set false where replicas restart under the"
        " same name within seconds (a rolling restart): no rebalance, and their partitions wait for them, for "
        "VP_LANES__SESSION_TIMEOUT_S at most",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="security.protocol of Kafka's clients"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"] = Field(
        default="SCRAM-SHA-512", description="used with SASL_*; AWS_MSK_IAM needs the extra `[msk]`"
    )
    sasl_username: str | None = Field(default=None, description="used with PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(default=None, description="used with PLAIN and SCRAM")
    sasl_password_file: Path | None = Field(
        default=None, description="file that holds the SASL password; instead of the variable. Read again at each login"
    )
    oauth_token_file: Path | None = Field(
        default=None,
        description="used with OAUTHBEARER: file that holds the token, e.g. a projected service account token. Read again at each login",
    )
    oauth_token_url: str | None = Field(
        default=None, description="used with OAUTHBEARER: token endpoint of an OIDC issuer, https only; client credentials are sent there"
    )
    oauth_client_id: str | None = Field(default=None, description="used with the token endpoint")
    oauth_client_secret: SecretStr | None = Field(default=None, description="used with the token endpoint")
    oauth_client_secret_file: Path | None = Field(
        default=None, description="file that holds the client secret; instead of the variable. Read again for each token"
    )
    oauth_scope: str | None = Field(default=None, description="scope to request from the token endpoint")
    oauth_ca_file: Path | None = Field(
        default=None, description="PEM file of the certificate authorities of the token endpoint; default the system's"
    )
    aws_region: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]{1,50}$", description="used with AWS_MSK_IAM: region of the cluster, e.g. eu-west-1"
    )
    ssl_ca_file: Path | None = Field(default=None, description="PEM file of the certificate authorities; default the system's")
    ssl_certificate_file: Path | None = Field(default=None, description="PEM client certificate, for mTLS")
    ssl_key_file: Path | None = Field(default=None, description="PEM key of the client certificate")
    ssl_key_password: SecretStr | None = Field(default=None, description="password of that key")
    ssl_key_password_file: Path | None = Field(
        default=None, description="file that holds the password of that key; instead of the variable"
    )
    on_missing_offsets: Literal["stop", "earliest", "latest"] = Field(
        default="stop",
        description="where to start if the group has no committed offset on a topic with records, or if that offset no longer"
        " exists: `stop` leaves the decision to a person, `earliest` repeats calls, `latest` loses requests",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        faults = login_faults(dict(self))
        faults += given_twice(self, "VP_KAFKA__", *_SECRETS)
        files = {f"{name}_file": getattr(self, f"{name}_file") for name in _SECRETS}
        faults += file_faults(files) if self.security_protocol != "PLAINTEXT" else []
        faults += ca_faults("ssl_ca_file", self.ssl_ca_file)
        if self.ssl_certificate_file is None or self.ssl_key_file is None:
            if self.ssl_certificate_file is not self.ssl_key_file:
                faults.append("mTLS needs both VP_KAFKA__SSL_CERTIFICATE_FILE and VP_KAFKA__SSL_KEY_FILE")
        else:
            faults += client_certificate_faults(self.ssl_certificate_file, self.ssl_key_file, self.key_password())
        refuse(faults)
        return self

    def password(self) -> str | None:
        """The SASL password from the variable or the file."""
        return secret(self.sasl_password, self.sasl_password_file)

    def key_password(self) -> str | None:
        """The password of the client's TLS key from the variable or the file."""
        return secret(self.ssl_key_password, self.ssl_key_password_file)

    def client_secret(self) -> str | None:
        """The secret for the token endpoint from the variable or the file."""
        return secret(self.oauth_client_secret, self.oauth_client_secret_file)

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def is_login(self) -> bool:
        """Whether connections log in by SASL."""
        return self.security_protocol.startswith("SASL")

    def ssl_context(self) -> ssl.SSLContext:
        """What TLS connections trust and show, from the files as they are now.

        Raises:
            SSLError, OSError: if they cannot be used; they could at the start.
        """
        context = ssl.create_default_context(cafile=str(self.ssl_ca_file) if self.ssl_ca_file else None)
        if self.ssl_certificate_file and self.ssl_key_file:
            load_client_certificate(context, self.ssl_certificate_file, self.ssl_key_file, self.key_password())
        return context

    def client_options(self, context: ssl.SSLContext | None = None) -> dict[str, Any]:
        """Keyword arguments of aiokafka's clients, as the files are now; ``processor.stream.login`` keeps clients of ours up with them.

        Args:
            context: for TLS, if there is one already.
        """
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security_protocol}
        if self.is_login:
            options["sasl_mechanism"] = "OAUTHBEARER" if self.sasl_mechanism == "AWS_MSK_IAM" else self.sasl_mechanism
            options |= {"sasl_plain_username": self.sasl_username, "sasl_plain_password": self.password()}
        if self.is_tls:
            options["ssl_context"] = context or self.ssl_context()
        return options
