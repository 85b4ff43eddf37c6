"""Images and videos of a decision: which links it has, where one may lead, what a file is and is called. Pure.

Didit gives links that are presigned and end after about an hour (OpenAPI 3.0.0, "Retrieve session": "short-lived presigned URL").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from processor.contract.codes import ErrorCode
from processor.didit.calls import EXTENSIONS
from processor.files.rules import FileError, check_public, content_type, is_plain_reference

FILES_MAX = 64  # of one decision
_LINKS_MAX = 1000  # looked at
_DEPTH_MAX = 12
_NAME_CHARS_MAX = 100
_SHA_CHARS = 16
MEMBERS = frozenset(
    {
        *("portrait_image", "front_image", "front_video", "back_image", "back_video", "full_front_image", "full_back_image"),
        *("front_image_camera_front", "back_image_camera_front", "registry_portrait", "portrait", "extra_files"),
        *("signature_image", "reference_image", "video_url", "source_image", "target_image", "document_file", "file_url"),
    }
)
"""Members of a decision that are links to files of its person or company."""
OTHERS = "matches"
"""Holds images of other persons: whoever needs them reads their sessions."""

_OCTETS = "application/octet-stream"
_VIDEO_STARTS = ((4, b"ftyp", "video/mp4"), (0, b"\x1aE\xdf\xa3", "video/webm"))  # ISO 14496-12; RFC 8794
_EXTENSIONS = {**EXTENSIONS, "video/mp4": "mp4", "video/webm": "webm", _OCTETS: "bin"}
HEAD_BYTES = 16  # tell what a file is


@dataclass(frozen=True, slots=True)
class MediaLink:
    """A link, and the path of the member that holds it, e.g. ``id_verifications[0].front_image``."""

    member: str
    url: str


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """A file that is in the store. ``sha256`` in hex."""

    member: str
    reference: str
    content_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LeftMedia:
    """A file that is not stored, and would not be in another attempt either."""

    member: str
    code: ErrorCode


def media_links(decision: Any) -> list[MediaLink]:
    """All links of a decision, in its order. Those beyond a thousand are not seen."""
    return [link for link, _ in zip(_links(decision, "", 0), range(_LINKS_MAX), strict=False)]


def _links(value: Any, path: str, depth: int) -> Iterator[MediaLink]:
    if depth > _DEPTH_MAX:
        return
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from _links(one, f"{path}[{number}]", depth + 1)
    elif isinstance(value, dict):
        for name, one in value.items():
            inner = f"{path}.{name}" if path else name
            if name in MEMBERS:
                yield from _named(one, inner)
            elif name != OTHERS:
                yield from _links(one, inner, depth + 1)


def _named(value: Any, path: str) -> Iterator[MediaLink]:
    if isinstance(value, str) and value:
        yield MediaLink(path, value)
    elif isinstance(value, list):
        yield from (MediaLink(f"{path}[{number}]", one) for number, one in enumerate(value) if isinstance(one, str) and one)


def is_own(url: str, own: str) -> bool:
    """Whether a link stays on the host of the API (else it leads to the internet at large).

    Args:
        url: the link.
        own: base URL of the API, which the operators have set.

    Raises:
        FileError: ``media_not_public`` if it may not be followed: no https, a port or login of its own, or an address that is not public.
    """
    if not is_plain_reference(url):
        raise _not_public()
    try:
        found, base = urlsplit(url), urlsplit(own)
        if (found.scheme, found.netloc) == (base.scheme, base.netloc):
            return True
        if found.scheme != "https":
            raise _not_public()
        check_public(found)
    except (ValueError, FileError):
        raise _not_public() from None
    return False


def redirected_link(url: str, location: str, own: str) -> str:
    """Where a redirect leads. One that changes between the host of the API and the internet is not followed.

    Raises:
        FileError: ``media_not_public``.
    """
    target = urljoin(url, location)
    if is_own(target, own) != is_own(url, own):
        raise _not_public()
    return target


def _not_public() -> FileError:
    return FileError(ErrorCode.MEDIA_NOT_PUBLIC, ErrorCode.MEDIA_NOT_PUBLIC.meaning)


def media_type(head: bytes) -> str:
    """What a file is, from its first ``HEAD_BYTES``; the host's own word is not taken."""
    video = next((kind for at, mark, kind in _VIDEO_STARTS if head[at : at + len(mark)] == mark), None)
    return video or content_type(head) or _OCTETS


def file_stem(member: str) -> str:
    """The member as a part of a file name: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", member.lower()).strip("-")[:_NAME_CHARS_MAX] or "file"


def file_name(member: str, sha256: str, kind: str) -> str:
    """Member, beginning of the digest, extension: another content never takes the place of one that a result names."""
    return f"{file_stem(member)}-{sha256[:_SHA_CHARS]}.{_EXTENSIONS[kind]}"
