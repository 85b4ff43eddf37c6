"""What the probes say of a process, phase by phase."""

from __future__ import annotations

from dataclasses import replace

import aiohttp
import pytest

from processor.contract.records import OutputKind
from processor.observe import metrics
from processor.observe.health import HealthReport, Phase, Vitals, all_live, any_works, live, ready, started
from processor.observe.http import build_app
from processor.runtime.http_server import listening

WELL = Vitals(Phase.WORKING, 100.0, "", 0.5, 30.0, member=True, lanes_open=4, poll_s=0.1, budget_joined=True, budget_silence_s=3.0)


def test_all_is_well() -> None:
    assert live(WELL).ok
    assert ready(WELL).ok
    assert started(WELL).ok


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"phase": Phase.STARTING}, "starting"),
        ({"phase": Phase.WAITING_FOR_KAFKA, "detail": "no answer from k:9092"}, "k:9092"),
        ({"phase": Phase.STANDING_BY}, "standing_by"),
        ({"phase": Phase.STOPPING}, "stopping"),
        ({"budget_joined": False}, "budget log is not joined"),
        ({"budget_silence_s": 26.0}, "not heard"),
        ({"clock_fault": "this machine's clock differs", "budget_joined": False}, "this machine's clock differs"),
        ({"member": False}, "rebalance"),
        ({"lanes_restoring": 2}, "2 of 6"),
        ({"lanes_restoring": 2, "lanes_leaderless": 1}, "2 of 7"),
        ({"lanes_restoring": 2, "lanes_leaderless": 1, "lanes_unfenced": 1}, "2 of 8"),
        ({"lanes_restoring": 2, "lanes_refused": 1}, "2 of 7"),
        ({"lanes_open": 0, "lanes_leaderless": 4}, "partitions without a leader: 4"),
        ({"lanes_open": 0, "lanes_unfenced": 4}, "last transaction cannot be ended: 4"),
        ({"lanes_open": 0, "lanes_refused": 4}, "a topic refuses: 4; the log event"),
    ],
)
def test_what_is_not_ready_lives_all_the_same(change: dict[str, object], word: str) -> None:
    seen = replace(WELL, **change)  # type: ignore[arg-type]
    health = ready(seen)
    assert not health.ok
    assert word in health.reasons[0]
    assert live(seen).ok


def test_a_pause_is_a_note_and_no_complaint() -> None:
    health = ready(replace(WELL, paused={"session-create": 12.4}))
    assert health.ok
    assert health.notes == ("session-create is paused for 12 s",)


def test_a_partition_without_a_leader_next_to_others_is_a_note() -> None:
    health = ready(replace(WELL, lanes_leaderless=1))
    assert health.ok
    assert health.notes == (
        "partitions without a leader: 1, or with a new one that waits for replicas in sync; they wait for their brokers",
    )


def test_a_partition_whose_former_owner_cannot_be_fenced_next_to_others_is_a_note() -> None:
    health = ready(replace(WELL, lanes_leaderless=2, lanes_unfenced=1))
    assert (health.ok, len(health.notes)) == (True, 2)
    assert health.notes[1].startswith("partitions whose last transaction cannot be ended: 1; they wait")


def test_why_connections_to_kafka_fail_is_a_reason_where_work_stands_still_and_else_a_note() -> None:
    refused = replace(WELL, kafka_fault="credentials_refused: refuses the login")
    assert (ready(refused).ok, ready(refused).notes) == (True, ("connections to Kafka fail: credentials_refused: refuses the login",))
    for still in ({"budget_silence_s": 26.0}, {"phase": Phase.WAITING_FOR_KAFKA, "detail": "refuses the login"}):
        health = ready(replace(refused, **still))
        assert (health.ok, len(health.reasons)) == (False, 2)
        assert "credentials_refused" in health.reasons[1]


def test_a_quota_of_the_brokers_is_a_reason_where_work_stands_still_and_else_a_note() -> None:
    throttled = replace(WELL, throttled_s=12.0)
    told = "Kafka holds our requests back by a quota, for up to 12 s"
    assert (ready(throttled).ok, ready(throttled).notes) == (True, (told,))
    for still in ({"budget_silence_s": 26.0}, {"phase": Phase.WAITING_FOR_KAFKA, "detail": "no answer"}):
        health = ready(replace(throttled, **still))
        assert (health.ok, health.reasons[1:]) == (False, (told,))


def test_the_start_does_not_depend_on_brokers() -> None:
    waiting = started(replace(WELL, phase=Phase.WAITING_FOR_KAFKA, detail="no answer"))
    assert waiting.ok
    assert "no answer" in waiting.notes[0]
    assert not started(replace(WELL, phase=Phase.STARTING)).ok


@pytest.mark.parametrize("change", [{"tick_s": 31.0}, {"poll_s": 181.0}])
def test_a_loop_that_stands_still_is_dead(change: dict[str, float]) -> None:
    assert not live(replace(WELL, **change)).ok  # type: ignore[arg-type]


def test_a_receiver_needs_no_partitions() -> None:
    receiver = Vitals(Phase.WORKING, 1.0, "", 0.1, 30.0, worker=False)
    assert ready(receiver).ok
    assert live(receiver).ok


def test_names_and_units_agree() -> None:
    names = [metric.name for metric in metrics.TABLE]
    assert len(names) == len(set(names))
    for metric in metrics.TABLE:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert (metric.unit == "seconds") == metric.name.removesuffix("_total").endswith("_seconds"), metric.name
        assert metric.meaning
    counted = {OutputKind.RESULT, OutputKind.RETRY, OutputKind.DEAD_LETTER, OutputKind.FORWARD}
    assert set(OutputKind) == {*counted, OutputKind.REPAIR}, "tally counts each, but for what goes with a result of its own"


BROKEN = replace(WELL, phase=Phase.WAITING_FOR_KAFKA, detail="no answer from k:9092")


def test_a_process_is_ready_while_one_of_its_applications_works() -> None:
    reports = {"shop": ready(replace(WELL, paused={"aml": 5.0})), "bank": ready(BROKEN)}
    assert any_works(reports) == HealthReport(
        ok=True, notes=("bank: waiting_for_kafka for 1 min 40 s: no answer from k:9092", "shop: aml is paused for 5 s")
    )
    assert any_works({"bank": ready(BROKEN)}) == ready(BROKEN), "without a name where there is one"
    none = any_works({"shop": ready(replace(BROKEN, detail="another")), "bank": ready(BROKEN)})
    assert (none.ok, [reason.split(":")[0] for reason in none.reasons]) == (False, ["shop", "bank"])


def test_a_process_lives_only_while_all_of_its_applications_do_and_says_once_what_all_have() -> None:
    stalled = replace(WELL, poll_s=500.0)
    assert all_live({"shop": live(WELL), "bank": live(WELL)}) == HealthReport(ok=True)
    found = all_live({"shop": live(replace(WELL, tick_s=40.0)), "bank": live(replace(stalled, tick_s=40.0))})
    assert found.reasons == (
        "the event loop has stood still for 40 s",
        "bank: no poll for 8 min 20 s, and the watch over it did not act",
    )


async def test_the_probes_name_each_application_and_those_of_a_single_one_are_as_ever() -> None:
    async def asked(seen: dict[str, Vitals], path: str) -> tuple[int, dict[str, object]]:
        async with (
            listening(build_app(lambda: seen, lambda: None), "127.0.0.1", 0) as port,
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, await answer.json()

    status, one = await asked({"default": BROKEN}, "/readyz")
    assert status == 503
    assert list(one) == ["ok", "reasons", "notes", "phase", "phase_s", "partitions"]
    status, both = await asked({"shop": WELL, "bank": BROKEN}, "/readyz")
    assert (status, list(both)) == (200, ["ok", "reasons", "notes", "applications"])
    applications = both["applications"]
    assert isinstance(applications, dict)
    assert {name: (found["ok"], found["phase"]) for name, found in applications.items()} == {
        "shop": (True, "working"),
        "bank": (False, "waiting_for_kafka"),
    }
    assert (await asked({"shop": BROKEN, "bank": BROKEN}, "/readyz"))[0] == 503
    assert (await asked({"shop": WELL, "bank": replace(WELL, poll_s=500.0)}, "/livez"))[0] == 503
    assert (await asked({"shop": WELL, "bank": replace(WELL, phase=Phase.STARTING)}, "/startupz"))[0] == 200
