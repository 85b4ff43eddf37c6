"""What topics must be like, and where outputs go."""

from __future__ import annotations

import pytest

from processor.contract.records import Output, OutputKind
from processor.settings import load_settings
from processor.stream.topics import TopicFound, TopicNames, config_warnings, repair_warnings, topic_faults, topic_specs, unread_topics


def test_outputs_find_their_topic_and_an_unknown_delay_is_an_error() -> None:
    names = TopicNames("v", (10, 60), "v.budget")
    assert names.inputs == ("v.requests", "v.retry.10s", "v.retry.1m")
    assert names.events == "v.events"
    assert names.of(Output(OutputKind.RESULT, None, None)) == "v.results"
    assert names.of(Output(OutputKind.DEAD_LETTER, None, None)) == "v.dead-letters"
    assert names.of(Output(OutputKind.RETRY, None, None, delay_s=60)) == "v.retry.1m"
    with pytest.raises(ValueError, match="no delay topic"):
        names.of(Output(OutputKind.RETRY, None, None, delay_s=61))


def test_topics_as_created_have_no_faults_and_every_wrong_one_is_named() -> None:
    settings = load_settings()
    specs = {s.name: s for s in topic_specs(settings, partitions=8, replication=3)}
    assert all(topic_faults(s, TopicFound(s.partitions, s.configs)) == [] for s in specs.values())
    assert all(s.configs["min.insync.replicas"] == "2" for s in specs.values())
    assert "topics apply" in topic_faults(specs["verification.requests"], None)[0]
    dead = specs["verification.dead-letters"]
    for wrong in ({"cleanup.policy": "compact"}, {"retention.ms": "3600000"}, {"max.message.bytes": "1000"}):
        assert len(topic_faults(dead, TopicFound(1, dict(dead.configs) | wrong))) == 1
    requests = specs["verification.requests"]
    assert topic_faults(requests, TopicFound(1, dict(requests.configs) | {"max.message.bytes": "5000000"}))
    events = specs["verification.events"]
    assert events.partitions == 8
    (fault,) = topic_faults(events, TopicFound(8, dict(events.configs) | {"max.message.bytes": "1000"}))
    assert "VP_WEBHOOKS__BODY_BYTES_MAX" in fault
    retry = specs["verification.retry.1h"]
    assert int(retry.configs["retention.ms"]) > settings.retry.retry_after_max_s * 1000
    assert topic_faults(retry, TopicFound(1, dict(retry.configs) | {"retention.ms": "60000"}))
    controls = specs["verification.controls"]
    for wrong in ({"retention.ms": "604800000"}, {"retention.bytes": "1000"}, {"cleanup.policy": "compact"}):
        assert len(topic_faults(controls, TopicFound(1, dict(controls.configs) | wrong))) == 1, "a pause could be forgotten"
    results = specs["verification.results"]
    assert topic_faults(results, TopicFound(1, dict(results.configs) | {"cleanup.policy": "compact"})) == []


@pytest.mark.parametrize(
    ("repairs_ms", "dead_letters_ms", "told"), [(60, 30, 0), (30, 30, 1), (20, 30, 1), (20, -1, 1), (-1, -1, 0), (-1, 30, 0)]
)
def test_repairs_are_kept_longer_than_their_dead_letters(repairs_ms: int, dead_letters_ms: int, told: int) -> None:
    settings = load_settings()
    found = {
        "verification.repairs": TopicFound(1, {"retention.ms": str(repairs_ms)}),
        "verification.dead-letters": TopicFound(1, {"retention.ms": str(dead_letters_ms)}),
    }
    assert len(repair_warnings(settings, found)) == told
    assert not repair_warnings(settings, {}), "what is missing is another fault"


def test_a_delay_topic_that_nobody_reads_is_named() -> None:
    settings = load_settings(kafka={"topic_prefix": "v.x"}, retry={"delays_s": (10, 60)})
    existing = [
        "v.x.retry.10s",
        "v.x.retry.1m",
        "v.x.retry.1h",
        "v.x.retry.1h.old",
        "vyx.retry.1h",
        "v.x.retry.0s",
        "other.retry.1h",
        "v.x.requests",
    ]
    (warning,) = unread_topics(settings, existing)
    assert warning.startswith("v.x.retry.1h: ")
    assert unread_topics(settings, []) == []


def test_partitions_that_were_added_to_what_is_one_order_are_named_and_keep_nobody_from_starting() -> None:
    """Kafka takes no partition away: the budget log had to be deleted, and with it what is known of calls."""
    specs = topic_specs(load_settings(), partitions=4, replication=3)
    grown = {spec.name: TopicFound(spec.partitions + 2, spec.configs, 3) for spec in specs}
    told = config_warnings(specs, grown)
    assert [text.partition(": has 3 partitions;")[0] for text in told] == ["verification.controls", "verification.budget"]
    assert [fault for spec in specs for fault in topic_faults(spec, grown[spec.name])] == []


BY_CALLERS = {"message.timestamp.type": "CreateTime"}


@pytest.mark.parametrize(
    ("replication", "wrong", "named"),
    [
        (3, {"compression.type": "brotli"}, "compression.type is brotli"),
        (3, {"retention.bytes": "1000000000"}, "retention.bytes is 1000000000"),
        (3, {"message.timestamp.type": "CreateTime"}, "message.timestamp.type is CreateTime: "),
        (3, BY_CALLERS | {"message.timestamp.before.max.ms": "60000"}, "message.timestamp.before.max.ms is 60000"),
        (3, BY_CALLERS | {"message.timestamp.after.max.ms": "60000"}, "message.timestamp.after.max.ms is 60000"),
        (3, {"unclean.leader.election.enable": "true"}, "unclean.leader.election.enable is true"),
        (3, {"min.insync.replicas": "1"}, "min.insync.replicas is 1"),
        (3, {"min.insync.replicas": "3"}, "one broker away"),
        (2, {"min.insync.replicas": "3"}, "nothing can be written"),
    ],
)
def test_configs_that_bite_on_a_bad_day_are_named_for_every_topic(replication: int, wrong: dict[str, str], named: str) -> None:
    specs = topic_specs(load_settings(), partitions=4, replication=3)
    as_created = {s.name: TopicFound(s.partitions, s.configs, 3) for s in specs}
    assert config_warnings(specs, as_created) == []
    harmless = {"compression.type": "zstd", "message.timestamp.before.max.ms": str(2**63 - 1), "message.timestamp.after.max.ms": "3600000"}
    assert config_warnings(specs, {s.name: TopicFound(1, {**s.configs, **harmless}, 3) for s in specs}) == []
    for spec in specs:
        found = config_warnings(specs, {**as_created, spec.name: TopicFound(1, {**spec.configs, **wrong}, replication)})
        stamped_by_broker = spec.is_log and "timestamp" in named
        said_as_fault = spec.is_log and (named.startswith("unclean") or named == "min.insync.replicas is 1")
        said_as_fault |= spec.keeps_all and "retention.bytes" in named
        if said_as_fault:
            assert any(named in text for text in topic_faults(spec, TopicFound(1, {**spec.configs, **wrong}, replication)))
        if stamped_by_broker or said_as_fault:
            assert found == []
        else:
            (text,) = found
            assert text.startswith(f"{spec.name}: ")
            assert named in text


def test_a_clock_limit_is_harmless_where_the_broker_stamps() -> None:
    (spec, *_) = topic_specs(load_settings(), partitions=4, replication=3)
    configs = {**spec.configs, "message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": "1"}
    assert config_warnings([spec], {spec.name: TopicFound(4, configs, 3)}) == []


def test_no_clock_but_the_brokers_stamps_what_we_create() -> None:
    for spec in topic_specs(load_settings(), partitions=4, replication=3):
        assert spec.configs["message.timestamp.type"] == "LogAppendTime", spec.name


def test_no_size_that_the_brokers_have_for_all_topics_deletes_what_we_create() -> None:
    for spec in topic_specs(load_settings(), partitions=4, replication=3):
        assert spec.configs["retention.bytes"] == "-1", spec.name


def test_a_budget_log_that_does_not_take_what_is_sent_together_is_wrong() -> None:
    spec = next(spec for spec in topic_specs(load_settings(), partitions=4, replication=1) if spec.is_log)
    good = TopicFound(1, dict(spec.configs))
    assert topic_faults(spec, good) == []
    small = TopicFound(1, {**spec.configs, "max.message.bytes": "100000"})
    assert topic_faults(spec, small) == [f"{spec.name}: max.message.bytes is 100000; raise it to 131072"]
