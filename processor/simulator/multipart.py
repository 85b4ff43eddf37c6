"""Parser for ``multipart/form-data`` bodies that are in memory. Pure (RFC 7578)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_NAME = re.compile(rb'\bname="((?:[^"\\]|\\.)*)"|\bname=([^;\s"]+)')
_ESCAPED = re.compile(rb"\\(.)")
_FILENAME = re.compile(rb'\bfilename="((?:[^"\\]|\\.)*)"|\bfilename=([^;\s"]+)', re.IGNORECASE)
_PARTS_MAX = 100


class MultipartError(ValueError):
    """The body cannot be parsed as a form."""


@dataclass(slots=True)
class MultipartForm:
    """Fields as text, files as bytes with their file names; of two parts with one name the later one counts."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    file_names: dict[str, str] = field(default_factory=dict)


def boundary_of(content_type: str) -> bytes | None:
    """The boundary in a Content-Type; None if that is not a multipart form."""
    if content_type.split(";", 1)[0].strip().lower() != "multipart/form-data":
        return None
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]).encode() if found is not None else None


def read_form(boundary: bytes, body: bytes) -> MultipartForm:
    """Parse a body.

    Raises:
        MultipartError: if the body is malformed, or has too many parts.
    """
    delimiter = b"\r\n--" + boundary
    parts = (b"\r\n" + body).split(delimiter)
    if len(parts) < 2 or len(parts) > _PARTS_MAX or not parts[-1].startswith(b"--"):  # noqa: PLR2004 - text before the first boundary, and after the last
        raise MultipartError("no closing boundary, or too many parts")
    form = MultipartForm()
    for part in parts[1:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        named = _NAME.search(head)
        if not separator or named is None:
            raise MultipartError("a part without a name")
        name, file_name = _text(named), _FILENAME.search(head)
        if file_name is None or not _text(file_name):  # to Django a part with an empty file name is no file
            form.fields[name] = content.decode(errors="replace")
        else:
            form.files[name], form.file_names[name] = content, _text(file_name)
    return form


def _text(quoted: re.Match[bytes]) -> str:
    """A parameter, quoted or not."""
    return _ESCAPED.sub(rb"\1", quoted[1] if quoted[1] is not None else quoted[2]).decode(errors="replace")
