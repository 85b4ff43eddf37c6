"""Quotas of the brokers: they slow a processor down, which says so, and nothing is lost, called twice or published twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Float64, Int16, Int32, Schema, String
from rig import Rig, create_request, running
from test_integration_observe import ready, scrape, total, until_ready

from processor.devkit.kafka_cluster import LocalKafka

_TEXT = String("utf-8")
_FOR_REAL = False  # validate_only
_ENTITY = Array(("type", _TEXT), ("name", _TEXT))


class _Altered(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 49, 0
    SCHEMA = Schema(("throttle_time_ms", Int32), ("entries", Array(("error_code", Int16), ("error_message", _TEXT), ("entity", _ENTITY))))


class _AlterStruct(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, RESPONSE_TYPE = 49, 0, _Altered
    SCHEMA = Schema(
        ("entries", Array(("entity", _ENTITY), ("ops", Array(("key", _TEXT), ("value", Float64), ("remove", Boolean))))),
        ("validate_only", Boolean),
    )


class _AlterQuotas(Request[_AlterStruct]):  # type: ignore[misc]
    """AlterClientQuotas of the default user, as Kafka's protocol guide has it; aiokafka has only the question."""

    API_KEY = 49

    def __init__(self, ops: list[tuple[str, float, bool]]) -> None:
        self._ops = ops

    def build(self, request_struct_class: type[_AlterStruct]) -> _AlterStruct:
        return request_struct_class([([("user", None)], self._ops)], _FOR_REAL)


async def _alter(rig: Rig, ops: list[tuple[str, float, bool]]) -> None:
    async with rig.admin() as admin:
        client = admin._client  # noqa: SLF001 - no public way
        answer = await client.send(client.get_random_node(), _AlterQuotas(ops))
        assert [entry[0] for entry in answer.entries] == [0], answer


@asynccontextmanager
async def _quota(rig: Rig, **rates: float) -> AsyncIterator[None]:
    await _alter(rig, [(key, rate, False) for key, rate in rates.items()])
    try:
        yield
    finally:
        await _alter(rig, [(key, 0.0, True) for key in rates])


async def test_a_quota_slows_a_processor_down_and_is_named(own_kafka: LocalKafka, tmp_path: Path) -> None:
    count = 60
    requests = [create_request(n) for n in range(count)]
    async with running(own_kafka, tmp_path, partitions=2) as rig:
        (one,) = await rig.start("one")
        await until_ready(rig, one)
        assert total(scrape(one), "vp_kafka_throttled_seconds_total") == 0
        async with _quota(rig, producer_byte_rate=4000.0):
            await rig.publish(requests)
            await rig.until(lambda: total(scrape(one), "vp_kafka_throttled_seconds_total") > 0, "a processor that is throttled")
            health = ready(one)
            assert "Kafka holds our requests back by a quota, for up to" in " ".join([*health["reasons"], *health["notes"]])
        await rig.wait_finals(count)
        assert "a quota of the brokers holds our requests back" in next(one.events("kafka_throttled"))["detail"]
        assert not [*one.events("life_ended"), *one.events("life_failed"), *one.events("gave_up")]
        judged = await rig.judge([f"r-{n:06d}" for n in range(count)])
        assert (judged.missing, judged.duplicated, judged.billed_twice) == ((), (), 0)
