"""Which references may be read, and what may be in them. Pure.

A reference is a URL: ``file:///path`` below an allowed root, ``https://`` on an allowed host, or an object below an allowed
prefix of a store (``s3://bucket/prefix``). Everything else is refused; nothing of a reference ever reaches a text of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from processor.contract.codes import ErrorCode
from processor.didit.catalog import FileRule

_HTTPS_PORT = 443
_CONTROL = frozenset(chr(n) for n in range(32)) | {"\x7f", "\\"}
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291, 2.4: all that is assigned; NAT64, mapped and translated ones lie outside
# public by number, and not by use: protocol assignments with a cloud's metadata in them (RFC 6890), Azure's WireServer, 6to4 relays
_NOT_PUBLIC = tuple(ipaddress.ip_network(n) for n in ("192.0.0.0/24", "168.63.129.16/32", "192.88.99.0/24", "2001::/23", "2002::/16"))
_CHAIN = "::"  # fsspec reads "a::b" as a file within a file, wherever b is


class FileError(Exception):
    """A file cannot be sent. ``lasting`` if another attempt would end the same."""

    def __init__(self, code: ErrorCode, hint: str, *, lasting: bool = True) -> None:
        super().__init__(hint)
        self.code, self.hint, self.lasting = code, hint, lasting
        self.field = ""  # the member of the input that names the file


class FileLocation(StrEnum):
    """Where a file is."""

    DISK = "disk"
    WEB = "web"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operators have opened; nothing by default."""

    roots: tuple[str, ...] = ()  # absolute folders
    hosts: tuple[str, ...] = ()  # host names, lower case
    prefixes: tuple[str, ...] = ()  # e.g. ``s3://bucket/people/``


@dataclass(frozen=True, slots=True)
class Located:
    """A reference that may be read. ``where`` is a path for the disk, else a URL."""

    location: FileLocation
    where: str


def locate(reference: str, allowed: Allowed) -> Located:
    """Decide about a reference.

    Raises:
        FileError: ``file_not_allowed`` if it is none that may be read.
    """
    if not is_plain_reference(reference):
        raise _not_allowed()
    try:
        url = urlsplit(reference)
    except ValueError:
        raise _not_allowed() from None
    if url.scheme == "file":
        return Located(FileLocation.DISK, _path(reference, allowed.roots))
    if url.scheme == "https":
        return Located(FileLocation.WEB, _web(reference, allowed.hosts))
    if any(_below(reference, prefix) for prefix in allowed.prefixes):
        return Located(FileLocation.STORE, reference)
    raise _not_allowed()


def is_plain_reference(reference: str) -> bool:
    """Whether it holds no control characters or outer blanks: ``urlsplit()`` would drop them in silence."""
    return not any(char in _CONTROL for char in reference) and reference == reference.strip()


def redirected(url: str, location: str, allowed: Allowed) -> str:
    """Where a redirect leads, under the same rules as the first hop.

    Raises:
        FileError: ``file_not_allowed``.
    """
    target = urljoin(url, location)
    found = locate(target, allowed)
    if found.location is not FileLocation.WEB:
        raise _not_allowed()
    return found.where


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet at large.

    No loopback, private, link-local, shared or reserved one (RFC 6890), none that carries an IPv4 address inside an IPv6 one
    (NAT64, RFC 6052; mapped, compatible and translated ones, RFC 4291 and 2765; 6to4; Teredo), and no cloud's metadata service.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found not in _GLOBAL_UNICAST:
        return False
    return found.is_global and not found.is_multicast and not any(found in network for network in _NOT_PUBLIC)


def check_content(content: bytes, rule: FileRule) -> str:
    """The content type of a file, from its first bytes.

    Raises:
        FileError: ``file_empty``, ``file_too_large`` or ``file_type``.
    """
    if not content:
        raise FileError(ErrorCode.FILE_EMPTY, "the file is empty")
    if len(content) > rule.size_bytes_max:
        raise too_large(rule)
    found = content_type(content)
    if found not in rule.content_types:
        kinds = ", ".join(sorted(rule.content_types))
        raise FileError(ErrorCode.FILE_TYPE, f"the file does not begin like one of {kinds}")
    return found


def content_type(content: bytes) -> str | None:
    """What the first bytes say; None for anything that Didit does not take."""
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _STARTS if content.startswith(start)), None)


def too_large(rule: FileRule) -> FileError:
    """More bytes than Didit takes."""
    return FileError(ErrorCode.FILE_TOO_LARGE, f"the file is longer than {rule.size_bytes_max} bytes")


_STARTS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
)


def _path(reference: str, roots: Iterable[str]) -> str:
    url = urlsplit(reference)
    path = PurePosixPath(unquote(url.path))
    if (
        url.netloc not in {"", "localhost"}
        or url.query
        or url.fragment
        or not path.is_absolute()
        or ".." in path.parts
        or "\0" in str(path)
    ):
        raise _not_allowed()
    if not any(path != PurePosixPath(root) and path.is_relative_to(root) for root in roots):
        raise _not_allowed()
    return str(path)


def _web(reference: str, hosts: Iterable[str]) -> str:
    url = urlsplit(reference)
    check_public(url)
    if (url.hostname or "") not in hosts:
        raise _not_allowed()
    return reference


def check_public(url: SplitResult) -> None:
    """An https URL has a host, no login, no port of its own, and no address that is not public; a name is not resolved here.

    Raises:
        FileError: ``file_not_allowed``.
    """
    try:
        port = url.port
    except ValueError:
        raise _not_allowed() from None
    if url.username or url.password or port not in {None, _HTTPS_PORT} or not url.hostname:
        raise _not_allowed()
    if _is_address(url.hostname) and not is_public(url.hostname):  # an address is not resolved, so nobody else looks at it
        raise _not_allowed()


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _below(reference: str, prefix: str) -> bool:
    rest = reference.removeprefix(prefix)
    return rest != reference and prefix.endswith("/") and bool(rest) and not _leads_out(unquote(rest))


def _leads_out(path: str) -> bool:
    return ".." in path.split("/") or _CHAIN in path


def _not_allowed() -> FileError:
    return FileError(ErrorCode.FILE_NOT_ALLOWED, "the reference is not within VP_FILES__ROOTS, __HOSTS or __PREFIXES")
