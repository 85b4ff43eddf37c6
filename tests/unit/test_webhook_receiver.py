"""The receiver on a real loopback socket, with a publisher that obeys, fails, hangs or is slow."""

from __future__ import annotations

import asyncio
import gzip
import os
import resource
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from metric_values import metric_value
from pydantic import SecretStr
from receiving import Post, Topic, receiving
from signing import NOW, SECRET, canonical, delivery, digest, signed
from structlog.testing import capture_logs

from processor.observe.application import working_for
from processor.settings import ConfigurationError, WebhookSettings
from processor.webhooks import event_writer
from processor.webhooks import judge as judge_module
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


async def test_a_failure_is_an_increase_also_if_it_is_the_first_one() -> None:
    """Whoever asks Prometheus for the increase of a series learns nothing of its first sample."""
    with working_for("just-started"):
        async with receiving():
            shown = {outcome: metric_value("vp_webhooks_total", application="just-started", outcome=outcome) for outcome in WriteOutcome}
    assert shown == dict.fromkeys(WriteOutcome, 0.0)


async def test_a_late_write_is_answered_in_time_and_found_by_the_next_delivery() -> None:
    async with receiving(answer_s=0.3) as post:
        post.topic.mood = "hangs"
        async with asyncio.timeout(30):  # the write goes on for as long as we let it
            assert (await post(*signed(delivery())))[0] == 503
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


SIGNED_HEAD = b"POST /webhooks/didit HTTP/1.1\r\nHost: x\r\nX-Signature-V2: " + b"0" * 64 + b"\r\n"


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
        head = SIGNED_HEAD + b"Content-Length: 100\r\n\r\n"
        assert (await raw(post, head + b"{")).startswith(b"HTTP/1.1 503")
        await raw(post, head + b"{", close=True)
        chunked = SIGNED_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        with caplog.at_level("DEBUG"):
            assert b" 400 " in await raw(post, chunked + b"zz\r\nnonsense\r\n")
            assert b" 400 " in await raw(post, b"no such thing as HTTP\r\n\r\n")
        assert not [record for record in caplog.records if record.name.startswith("aiohttp")], "they would quote what came"
        assert (await post(*signed(delivery())))[0] == 200, "the receiver is well"
        assert post.topic.calls == 1


async def test_without_a_signature_nothing_of_the_body_is_waited_for() -> None:
    async with receiving() as post:
        head = b"POST /webhooks/didit HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        async with asyncio.timeout(30):
            assert (await raw(post, head + b"{")).startswith(b"HTTP/1.1 401"), "the body never came"
        assert post.counted("webhooks_refused") == {"unsigned": 1}


async def test_a_time_in_the_header_only_refuses_what_no_signature_over_the_bytes_vouches_for() -> None:
    async with receiving() as post:
        old = {"X-Timestamp": str(NOW - 400)}
        assert (await post(*_with(signed(delivery()), old)))[0] == 200, "the signed time counts"
        body = b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"  # would be not_json, were it read
        status, answer = await post(body, old | {"X-Signature-V2": "0" * 64})
        assert (status, answer["error"]) == (401, "stale")
        status, answer = await post(body, {"X-Timestamp": str(NOW + 400), "X-Signature-V2": "0" * 64})
        assert (status, answer["error"]) == (401, "early")
        assert (await post(body, {"X-Timestamp": "soon", "X-Signature-V2": "0" * 64}))[0] == 400


def _with(signed_: tuple[bytes, dict[str, str]], more: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    return signed_[0], signed_[1] | more


async def test_large_unproven_bodies_are_judged_one_at_a_time_and_hold_up_no_signed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    judging, go = threading.Event(), threading.Event()

    def slow_verify(body: bytes, *args: Any, **more: Any) -> Any:
        if len(body) > 64 * 1024 and b"nonsense" in body:
            judging.set()
            go.wait(10.0)
        return verify(body, *args, **more)

    monkeypatch.setattr(judge_module, "verify", slow_verify)
    async with receiving(answer_s=0.5) as post:
        nonsense, head = b'"nonsense' + b" " * 100_000 + b'"', {"X-Signature-V2": "0" * 64}
        first = asyncio.create_task(post(nonsense, head))
        await asyncio.to_thread(judging.wait, 5.0)
        status, answer = await post(nonsense, head)
        assert (status, answer["error"]) == (503, "busy"), "another one is in hand"
        assert (await post(*signed(delivery(vendor_data="x" * 100_000))))[0] == 200, "a signed one is not in its way"
        assert (await first)[0] == 503, "given up in time"
        assert (await post(nonsense, head))[1]["error"] == "busy", "what was given up still costs, so it still counts"
        go.set()
        async with asyncio.timeout(5.0):
            while (await post(nonsense, head))[0] == 503:
                await asyncio.sleep(0)


async def test_large_bodies_are_bounded_in_bytes_and_leave_room_for_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "_LARGE_BODIES_BYTES_MAX", 0)
    async with receiving(body_bytes_max=100_000, answer_s=60.0) as post:  # 400 000 bytes in all: two at once
        port, part = int(post.url.split(":")[2].split("/")[0]), b"x" * 80_000
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in slow:
            writer.write(SIGNED_HEAD + b"Content-Length: 100000\r\n\r\n" + part)
            await writer.drain()
        async with asyncio.timeout(30):
            while True:
                begin = time.monotonic()
                status, answer = await post(*signed(delivery(vendor_data="x" * 90_000, event_id=str(begin))))
                if status == 503:
                    break
        assert answer["error"] == "busy"
        assert (await post(*signed(delivery(status="Declined", event_id="small"))))[0] == 200
        for _, writer in slow:
            writer.close()
        async with asyncio.timeout(30):
            while (await post(*signed(delivery(status="In Review", vendor_data="x" * 90_000, event_id="e-9"))))[0] != 200:
                await asyncio.sleep(0)


async def test_more_deliveries_than_can_be_in_hand_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "_IN_HAND_MAX", 1)
    async with receiving() as post:
        post.topic.mood = "hangs"
        first = asyncio.create_task(post(*signed(delivery())))
        async with asyncio.timeout(30):
            while not post.topic.calls:
                await asyncio.sleep(0.01)
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
                assert (await post(b"nonsense", {"X-Signature": "0" * 64}))[0] == 400
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
        for broken in (b"one-secret two-secret\n", "newest-schlüssel\n".encode(), b"\xff\xfes\x00"):
            file.write_bytes(broken)
            assert source.current() == (b"new-secret", b"old-secret"), "cut, joined, or in another encoding"
        file.write_text("newest\n")
        os.utime(file, ns=(1, 1))
        assert source.current() == (b"newest",)
    assert [entry["event"] for entry in logs] == [
        "webhook_secrets_changed",
        *["webhook_secrets_unreadable"] * 5,
        "webhook_secrets_changed",
    ]
    assert "-secret" not in str(logs)


def test_a_file_of_secrets_that_could_not_be_opened_is_read_when_it_can_be(tmp_path: Path) -> None:
    """A process that had no file descriptor left at that moment refused all that was signed with the new secret, for good."""
    file, fresh = tmp_path / "secrets", tmp_path / "fresh"
    file.write_text("old-secret\n")
    fresh.write_text("new-secret\nold-secret\n")
    source = SecretSource(WebhookSettings(secrets_file=file))
    fresh.replace(file)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with capture_logs() as logs:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            assert source.current() == source.current() == (b"old-secret",)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert source.current() == (b"new-secret", b"old-secret")
    assert [entry["event"] for entry in logs] == ["webhook_secrets_unreadable", "webhook_secrets_changed"], "said once"


@pytest.mark.parametrize("around", ["\n", "\r\n", "  ", "\t\n\n"])
def test_blanks_and_line_breaks_around_a_secret_of_the_environment_are_no_part_of_it(around: str) -> None:
    source = SecretSource(WebhookSettings(secrets=(SecretStr(f"{around}new-secret{around}"), SecretStr("old-secret"))))
    assert source.current() == (b"new-secret", b"old-secret")


def test_a_start_without_any_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="VP_WEBHOOKS__SECRETS: is missing"):
        SecretSource(WebhookSettings())
    with pytest.raises(ConfigurationError, match=r"VP_WEBHOOKS__SECRETS_FILE: .* cannot be read, holds no secret"):
        SecretSource(WebhookSettings(secrets_file=tmp_path / "absent"))
