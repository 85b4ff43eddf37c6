"""Files as the framework of Didit judges them: Django REST framework, whose error texts Didit's OpenAPI 3.0.0 documents."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

import aiohttp
import django
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from didit_api import KEY, api
from django.conf import settings as django_settings
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.core.validators import FileExtensionValidator
from django.http.multipartparser import MultiPartParser

from processor.contract.records import Hop, Request, Source
from processor.didit.calls import FileContent, build_call
from processor.didit.catalog import OPERATIONS
from processor.didit.client import DiditClient
from processor.settings import DiditSettings

django_settings.configure(USE_I18N=False, INSTALLED_APPS=["rest_framework"], REST_FRAMEWORK={}, DATABASES={}, SECRET_KEY="x")
django.setup()
from rest_framework import serializers  # noqa: E402 - it reads the settings when it is imported
from rest_framework.exceptions import ParseError  # noqa: E402 - as above
from rest_framework.parsers import JSONParser  # noqa: E402 - as above

IMAGES = ["tiff", "jpg", "jpeg", "png", "webp"]
DOCUMENTS = ["tiff", "jpg", "jpeg", "png", "pdf", "webp"]
RULES: dict[str, dict[str, list[str]]] = {  # OpenAPI 3.0.0: the fields of each path with their allowed extensions
    "/v3/id-verification/": {"front_image": [*IMAGES, "pdf"]},
    "/v3/passive-liveness/": {"user_image": IMAGES},
    "/v3/face-match/": {"user_image": IMAGES, "ref_image": IMAGES},
    "/v3/face-search/": {"user_image": IMAGES},
    "/v3/age-estimation/": {"user_image": IMAGES},
    "/v3/poa/": {"document": DOCUMENTS},
    "/v3/document-ai/": {"document": [*DOCUMENTS, "zip"]},
    "/v3/database-validation/": {"selfie": ["jpg", "jpeg", "png", "webp"]},
}
NEEDED = {  # beside the files
    "/v3/document-ai/": {"fields": "[]"},
    "/v3/database-validation/": {"issuing_state": "ESP", "identification_number": "ID-1", "consent": "true"},
}
OURS = [row for row in OPERATIONS.values() if row.files]
CONTENTS = {
    "image/jpeg": b"\xff\xd8\xff image",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/webp": b"RIFF0000WEBP",
    "image/tiff": b"II*\x00",
    "application/pdf": b"%PDF-1.7",
    "application/zip": b"PK\x03\x04",
}


def errors(path: str, content_type: str, body: bytes) -> dict[str, list[str]]:
    """What Django REST framework says of a form; nothing if it takes it."""
    meta = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body))}
    fields, files = MultiPartParser(meta, io.BytesIO(body), [MemoryFileUploadHandler()]).parse()
    rules = {
        name: serializers.FileField(required=name != "selfie", validators=[FileExtensionValidator(allowed_extensions=allowed)])
        for name, allowed in RULES[path].items()
    }
    judge = type("Form", (serializers.Serializer,), rules)(data={**fields.dict(), **dict(files.items())})
    return {} if judge.is_valid() else {name: [str(text) for text in texts] for name, texts in judge.errors.items()}


@pytest.mark.parametrize("operation", OURS, ids=lambda row: row.name)
async def test_every_file_of_every_check_is_taken_as_we_send_it(operation: Any) -> None:
    told: list[dict[str, list[str]]] = []

    async def judge(request: web.Request) -> web.Response:
        told.append(errors(request.path, request.headers["Content-Type"], await request.read()))
        return web.json_response({})

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/{path:.*}", judge)
    kinds = sorted(set.intersection(*(set(rule.content_types) for rule in operation.files.values())))
    call = build_call(
        operation, Request("r", operation.name, dict.fromkeys(operation.files, "file:///Ann.jpeg")), Hop(Source("t", 0, 0), 0)
    )
    async with TestServer(app) as server, DiditClient(DiditSettings(base_url=str(server.make_url("")), api_key="k")) as client:
        for kind in kinds:
            await client.send(call, [FileContent(name, CONTENTS[kind], kind) for name in operation.files])
    assert told == [{}] * len(kinds)
    assert set(kinds) >= {"image/jpeg", "image/png", "image/webp"}


JSON = b'{"full_name":"Ann Beta"}'


@pytest.mark.parametrize("raw", [JSON, gzip.compress(JSON), zlib.compress(JSON)], ids=["plain", "gzip", "deflate"])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate", "br", "zstd", "unknown"])
async def test_the_simulator_parses_the_bytes_that_came_as_django_does(raw: bytes, encoding: str) -> None:
    try:
        JSONParser().parse(io.BytesIO(raw), "application/json", {})
        status, told = 200, ""
    except ParseError as exc:
        status, told = exc.status_code, str(exc.detail)
    headers = {"x-api-key": KEY, "Content-Type": "application/json", "Content-Encoding": encoding}
    async with api() as a:
        for path in ("/v3/aml/", "/v3/face-match/", "/_sim/credits"):
            async with a.session.post(a.url + path, data=raw, headers=headers) as response:
                document = await response.json()
            if path == "/v3/aml/":
                assert response.status == status
                assert document.get("detail", "").startswith(told[: len("JSON parse error - ")])
            assert response.status < 500
        form = {**headers, "Content-Type": "multipart/form-data; boundary=b"}
        async with a.session.post(a.url + "/v3/face-match/", data=raw, headers=form) as response:
            assert response.status == 400


def test_the_rules_are_those_of_every_check_with_files() -> None:
    assert {row.path for row in OURS} == set(RULES)


@pytest.mark.parametrize("name", ["", "user_image", "a.txt", "a.jpg.exe", "a.", ".png", "a.PNG", "a.Jpeg", "a.b.webp", "a.pdf", "ü.zip"])
async def test_the_simulator_judges_names_as_django_does(name: str) -> None:
    async with api() as a:
        for path, fields in RULES.items():
            form = aiohttp.FormData(default_to_multipart=True)
            for field in fields:
                form.add_field(field, b"\xff\xd8\xff image", filename=name, content_type="image/jpeg")
            form.add_field("vendor_data", "u")
            for field, text in NEEDED.get(path, {}).items():
                form.add_field(field, text)
            writer = form()
            body = await _bytes(writer)
            headers = {"x-api-key": KEY, "X-Request-Id": "ref.0", "Content-Type": writer.headers["Content-Type"]}
            async with a.session.post(a.url + path, data=body, headers=headers) as response:
                answered = await response.json()
            expected = errors(path, writer.headers["Content-Type"], body)
            if expected:
                assert (response.status, answered) == (400, dict([next(iter(expected.items()))])), (path, answered)
            else:
                assert response.status == 200, (path, answered)


async def _bytes(payload: Any) -> bytes:
    parts = bytearray()

    class Sink:
        async def write(self, part: bytes) -> None:
            parts.extend(part)

    await payload.write(Sink())
    return bytes(parts)
