"""The secrets that are in force, from the settings or from a file that is read again when it changes."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from processor.settings import ConfigurationError, WebhookSettings, header_fault

_SECRETS_MAX = 10  # each one costs a digest of every body that anybody sends

log = structlog.get_logger(__name__)


class SecretSource:
    """Gives the secrets, the newest first.

    A file that cannot be read, holds none, or one that is no secret leaves those in force that were: it may be half-way through its
    replacement, or was cut, joined or saved in another encoding. One that is there and cannot be opened is tried at each delivery: that
    may be a right, or that the process has too many files open.

    Raises:
        ConfigurationError: when made, if there is no secret at all.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._file = settings.secrets_file
        self._secrets = tuple(secret.get_secret_value().strip().encode() for secret in settings.secrets)
        self._seen: tuple[int, ...] | None = None
        self._unopened = False
        self.current()
        if not self._secrets:
            where = (
                f"{self._file} cannot be read, holds no secret, or one with a character that no secret of Didit's has"
                if self._file
                else "is missing (or set VP_WEBHOOKS__SECRETS_FILE)"
            )
            variable = "VP_WEBHOOKS__SECRETS_FILE" if self._file else "VP_WEBHOOKS__SECRETS"
            raise ConfigurationError(f"the configuration is not usable:\n  {variable}: {where}")

    def current(self) -> tuple[bytes, ...]:
        """The secrets in force now; looks at the file, and reads it if it is another one than before."""
        if self._file is None:
            return self._secrets
        mark = _identity(self._file)
        told = mark == self._seen
        if told and not self._unopened:
            return self._secrets
        self._seen = mark
        read = _read(self._file)
        self._unopened = read is None and mark is not None
        if read:
            if self._secrets:
                log.info("webhook_secrets_changed", count=len(read))
            self._secrets = read
        elif self._secrets and not told:
            log.error("webhook_secrets_unreadable", file=str(self._file), in_force=len(self._secrets))
        return self._secrets


def _identity(file: Path) -> tuple[int, ...] | None:
    """Changes with every replacement of the file, also behind the symbolic links of a mounted secret."""
    try:
        found = os.stat(file)  # noqa: PTH116 - one call, at every delivery
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _read(file: Path) -> tuple[bytes, ...] | None:
    """None: it cannot be opened."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return None
    found = tuple(secret for line in lines if (secret := line.strip()))[:_SECRETS_MAX]
    return () if any(header_fault(secret.decode(errors="replace")) for secret in found) else found
