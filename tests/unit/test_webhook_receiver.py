"""The receiver on a real loopback socket, with a publisher that obeys, fails, hangs or is slow."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from receiving import Post, Topic, receiving
from signing import NOW, SECRET, canonical, delivery, digest, signed
from structlog.testing import capture_logs

from processor.settings import ConfigurationError, WebhookSettings
from processor.webhooks import event_writer
from processor.webhooks import receiver as receiver_module
from processor.webhooks.event_writer import EventWriter, WriteOutcome
from processor.webhooks.events import build_event
from processor.webhooks.secrets import SecretSource
from processor.webhooks.signatures import Verified, verify


async def test_a_delivery_is_acknowledged_once_it_is_written() -> None:
    async with receiving() as post:
        members = delivery()
        with capture_logs() as logs:
            assert await post(*signed(members)) == (200, {"outcome": "published"})
        ((key, value),) = post.topic.written
        assert key == members["session_id"].encode()
        assert value["payload"] == members
        assert post.counted("webhooks") == {"published": 1}
        assert post.counted("webhook_secrets") == {"0": 1}
        assert post.counted("webhook_variants") == {"v2": 1}
        assert post.counted("webhooks_refused") == post.counted("webhooks_unfamiliar") == {}
        assert [entry["event"] for entry in logs] == ["webhook_received"]
        for planted in (members["session_id"], members["event_id"], "user-1", "req-1", "Approved", SECRET):
            assert planted not in str(logs)


async def test_a_repetition_is_acknowledged_and_not_written_again() -> None:
    async with receiving() as post:
        assert (await post(*signed(delivery())))[0] == 200
        for again in (delivery(), delivery(event_id="e-2", timestamp=NOW + 60), delivery(created_at=NOW - 5)):
            assert await post(*signed(again)) == (200, {"outcome": "duplicate"})
        assert (await post(*signed(delivery(event_id="e-3", status="Declined"))))[0] == 200
        assert [value["status"] for _, value in post.topic.written] == ["Approved", "Declined"]


async def test_nothing_is_acknowledged_that_is_not_written() -> None:
    async with receiving(answer_s=0.5) as post:
        for mood in ("fails", "raises"):
            post.topic.mood = mood
            with capture_logs() as logs:
                assert await post(*signed(delivery())) == (503, {"error": "failed", "message": "not written yet; send it again"})
            assert [entry["event"] for entry in logs] == ["webhook_not_published", "webhook_received"]
            assert "Zoë" not in str(logs)
        post.topic.mood = "ok"
        assert (await post(*signed(delivery())))[0] == 200
        assert len(post.topic.written) == 1
        assert post.counted("webhooks") == {"failed": 2, "published": 1}


async def test_a_late_write_is_answered_in_time_and_found_by_the_next_delivery() -> None:
    async with receiving(answer_s=0.3) as post:
        post.topic.mood = "hangs"
        begin = time.monotonic()
        assert (await post(*signed(delivery())))[0] == 503
        assert time.monotonic() - begin < 2.0
        again = asyncio.create_task(post(*signed(delivery(event_id="e-2"))))
        await asyncio.sleep(0.05)
        post.topic.go.set()
        assert await again == (200, {"outcome": "duplicate"})
        assert await post(*signed(delivery())) == (200, {"outcome": "duplicate"})
        assert (post.topic.calls, len(post.topic.written)) == (1, 1)


async def test_two_deliveries_at_once_are_one_record() -> None:
    async with receiving() as post:
        post.topic.mood = "hangs"
        both = asyncio.gather(post(*signed(delivery())), post(*signed(delivery())))
        await asyncio.sleep(0.1)
        post.topic.go.set()
        assert sorted(answer["outcome"] for _, answer in await both) == ["duplicate", "published"]
        assert len(post.topic.written) == 1


async def test_what_is_not_signed_or_not_fresh_is_refused_and_not_written() -> None:
    async with receiving() as post:
        body, headers = signed(delivery())
        refused = {
            "unsigned": (body, {}),
            "bad_signature": (body.replace(b"Approved", b"Declined"), headers),
            "stale": signed(delivery(timestamp=NOW - 301)),
            "early": signed(delivery(timestamp=NOW + 301)),
            "no_time": signed(delivery(timestamp=...)),
        }
        for reason, (bad, given) in refused.items():
            status, answer = await post(bad, given)
            assert (status, answer["error"]) == (401, reason)
            assert answer["message"]
        for bad in (b"", b"{", b"\xff\x00", b"[]", b'{"a":1,"a":1}', canonical(delivery())[:-1] + b',"x":"\\udc00"}'):
            status, answer = await post(bad, {"X-Signature": digest(bad)})
            assert status == 400
            assert answer["error"] in {"not_json", "not_object"}
        assert post.topic.calls == 0
        assert post.counted("webhooks_refused") == dict.fromkeys(refused, 1) | {"not_json": 5, "not_object": 1}


async def test_secrets_of_a_rotation_are_counted() -> None:
    async with receiving(secrets=("newest-secret", SECRET)) as post:
        assert (await post(*signed(delivery())))[0] == 200
        assert (await post(*signed(delivery(), secret="newest-secret")))[0] == 200
        assert (await post(*signed(delivery(), secret="foreign-secret")))[0] == 401
        assert post.counted("webhook_secrets") == {"0": 1, "1": 1}


async def test_a_test_webhook_is_verified_and_not_written() -> None:
    async with receiving() as post:
        body, headers = signed(delivery(webhook_type="session.archived"))
        assert await post(body, headers | {"X-Didit-Test-Webhook": "true"}) == (200, {"outcome": "test"})
        assert (await post(body, {"X-Didit-Test-Webhook": "true"}))[0] == 401
        assert post.topic.calls == 0
        assert (await post(body, headers | {"X-Didit-Test-Webhook": "false"}))[0] == 200
        assert len(post.topic.written) == 1
        assert post.counted("webhooks_unfamiliar") == {"webhook_type": 2}


async def test_sizes_encodings_methods_and_paths() -> None:
    async with receiving(body_bytes_max=200_000) as post:
        fits = delivery(vendor_data="x" * 190_000)
        assert (await post(*signed(fits)))[0] == 200, "judged in a thread"
        large, headers = signed(delivery(vendor_data="x" * 200_000))
        assert (await post(large, headers))[0] == 413

        async def in_chunks() -> AsyncIterator[bytes]:
            for begin in range(0, len(large), 50_000):
                yield large[begin : begin + 50_000]

        assert (await post(in_chunks(), headers))[0] == 413, "no Content-Length tells"
        body, headers = signed(delivery(event_id="e-2", status="Declined"))
        assert (await post(gzip.compress(body), headers | {"Content-Encoding": "gzip"}))[0] == 415
        assert (await post(gzip.compress(b"x" * 10**8), headers | {"Content-Encoding": "br"}))[0] == 415
        assert (await post(body, headers | {"Content-Encoding": "identity"}))[0] == 200
        async with post.session.get(post.url) as answer:
            assert answer.status == 405
        async with post.session.post(post.url + "/other", data=body, headers=headers) as answer:
            assert answer.status == 404
        assert post.counted("webhooks_refused") == {"too_large": 2, "compressed": 2}


async def raw(post: Post, request: bytes, *, close: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(post.url.split(":")[2].split("/")[0]))
    writer.write(request)
    if close:
        writer.write_eof()
    found = await asyncio.wait_for(reader.read(200), 5.0)
    writer.close()
    return found


async def test_a_body_that_does_not_come_is_answered_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async with receiving(answer_s=0.3) as post:
        head = b"POST /webhooks/didit HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        assert (await raw(post, head + b"{")).startswith(b"HTTP/1.1 503")
        await raw(post, head + b"{", close=True)
        chunked = b"POST /webhooks/didit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        with caplog.at_level("DEBUG"):
            assert b" 400 " in await raw(post, chunked + b"zz\r\nnonsense\r\n")
            assert b" 400 " in await raw(post, b"no such thing as HTTP\r\n\r\n")
        assert not [record for record in caplog.records if record.name.startswith("aiohttp")], "they would quote what came"
        assert (await post(*signed(delivery())))[0] == 200, "the receiver is well"
        assert post.topic.calls == 1


async def test_more_deliveries_than_can_be_in_hand_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "_IN_HAND_MAX", 1)
    async with receiving() as post:
        post.topic.mood = "hangs"
        first = asyncio.create_task(post(*signed(delivery())))
        await asyncio.sleep(0.1)
        status, answer = await post(*signed(delivery(status="Declined", event_id="e-2")))
        assert (status, answer["error"]) == (503, "busy")
        post.topic.go.set()
        assert (await first)[0] == 200


async def test_a_fault_of_ours_is_no_verdict_on_the_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("Zoë Müller")

    monkeypatch.setattr(receiver_module, "build_event", broken)
    async with receiving() as post:
        with capture_logs() as logs:
            assert (await post(*signed(delivery())))[0] == 503
        assert logs[0]["event"] == "webhook_failed"
        assert logs[0]["at"].startswith("test_webhook_receiver.py:")
        assert "Zoë" not in str(logs)


async def test_nonsense_does_not_fill_the_log() -> None:
    async with receiving() as post:
        with capture_logs() as logs:
            for _ in range(50):
                assert (await post(b"nonsense"))[0] == 400
        assert 1 <= len(logs) <= 10
        assert logs[0] == {
            "event": "webhook_refused",
            "reason": "not_json",
            "code": "not_json",
            "status": 400,
            "count": 1,
            "log_level": "warning",
        }
        assert post.counted("webhooks_refused") == {"not_json": 50}


def event(**changes: Any) -> Any:
    body, headers = signed(delivery(**changes))
    found = verify(body, headers, [SECRET.encode()], NOW, tolerance_s=300, size_bytes_max=1 << 20)
    assert isinstance(found, Verified)
    return build_event(found)


async def test_what_is_under_way_is_bounded_in_bytes_and_ends_with_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Topic()
    topic.mood = "hangs"
    writer = EventWriter(topic.publish, now=lambda: NOW)
    monkeypatch.setattr(event_writer, "_UNDER_WAY_BYTES_MAX", len(event().value) + 10)
    assert await writer.write(event(), within_s=0.01) is WriteOutcome.LATE
    assert await writer.write(event(event_id="e-2", status="Declined"), within_s=0.01) is WriteOutcome.FULL
    assert await writer.write(event(), within_s=-1.0) is WriteOutcome.LATE, "it is under way already"
    await writer.close()
    await asyncio.sleep(0)
    topic.mood = "ok"
    assert await writer.write(event(), within_s=1.0) is WriteOutcome.PUBLISHED
    assert topic.calls == 2


async def test_an_attempt_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_writer, "_ATTEMPT_S", 0.05)
    topic = Topic()
    topic.mood = "hangs"
    writer = EventWriter(topic.publish, now=lambda: NOW)
    assert await writer.write(event(), within_s=5.0) is WriteOutcome.FAILED


def test_secrets_of_a_file_are_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("old-secret\n")
    source = SecretSource(WebhookSettings(secrets_file=file))
    assert source.current() == (b"old-secret",)
    fresh = tmp_path / "fresh"
    fresh.write_text("\n new-secret \r\n\nold-secret")
    with capture_logs() as logs:
        fresh.replace(file)
        assert source.current() == source.current() == (b"new-secret", b"old-secret")
        file.unlink()
        assert source.current() == source.current() == (b"new-secret", b"old-secret"), "those in force stay in force"
        file.write_text("\n")
        assert source.current() == (b"new-secret", b"old-secret")
        file.write_text("newest\n")
        os.utime(file, ns=(1, 1))
        assert source.current() == (b"newest",)
    assert [entry["event"] for entry in logs] == [
        "webhook_secrets_changed",
        "webhook_secrets_unreadable",
        "webhook_secrets_unreadable",
        "webhook_secrets_changed",
    ]
    assert "-secret" not in str(logs)


def test_a_start_without_any_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="VP_WEBHOOKS__SECRETS: is missing"):
        SecretSource(WebhookSettings())
    with pytest.raises(ConfigurationError, match=r"VP_WEBHOOKS__SECRETS_FILE: .* cannot be read or holds no secret"):
        SecretSource(WebhookSettings(secrets_file=tmp_path / "absent"))
