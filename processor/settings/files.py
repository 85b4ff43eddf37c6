"""Which files requests may name, and where files of decisions are put."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from processor.settings.base import Group, Seconds, refuse

FILES_MAX = 2  # that one call names
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PREFIX = re.compile(r"(?!https?:|file:|data:|local:)[a-z][a-z0-9]{1,15}://[^/\s]+/(\S*/)?")


class FileSettings(Group):
    """Which files requests may name, and where files of decisions are put. Nothing is allowed by default."""

    roots: tuple[str, ...] = Field((), description="JSON array of absolute folders; file:// references must lie below one")
    hosts: tuple[str, ...] = Field((), description="JSON array of host names; https:// references and their redirects must stay on them")
    prefixes: tuple[str, ...] = Field(
        (), description="JSON array of store prefixes that end in a slash, e.g. s3://bucket/people/; needs the extra [s3] or [gs]"
    )
    fetch_s: Seconds = Field(15.0, description="deadline of reading one file")
    media_folder: Path | None = Field(
        None, description="absolute folder to which `session.media` writes images and videos; unset: that operation is refused"
    )
    media_bytes_max: int = Field(50 * 1024 * 1024, ge=1024, description="a longer file of a decision is not stored")
    media_s: Seconds = Field(60.0, description="deadline of fetching all files of one decision")

    @property
    def reading_s_max(self) -> float:
        """Reading the files of one call takes no longer; 0 if no file may be named."""
        return FILES_MAX * self.fetch_s if self.roots or self.hosts or self.prefixes else 0.0

    @model_validator(mode="after")
    def _plain(self) -> Self:
        faults = [f"VP_FILES__ROOTS: {root} is no absolute folder" for root in self.roots if not Path(root).is_absolute() or root == "/"]
        faults += [f"VP_FILES__HOSTS: {host} is no lower-case host name" for host in self.hosts if not _HOST.fullmatch(host)]
        faults += [
            f"VP_FILES__PREFIXES: {prefix} must be like s3://bucket/folder/"
            for prefix in self.prefixes
            if not _PREFIX.fullmatch(prefix) or ".." in prefix
        ]
        if self.media_folder is not None and (not self.media_folder.is_absolute() or self.media_folder == Path("/")):
            faults.append("VP_FILES__MEDIA_FOLDER is no absolute folder")
        refuse(faults)
        return self
