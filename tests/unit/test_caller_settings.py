"""What the client alone reads: no setting of the processor but how to reach Kafka."""

from __future__ import annotations

import os

import pytest
from caller_settings import ConfigurationError, KafkaSettings, load_settings

import processor.settings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("VP_")]:
        monkeypatch.delenv(name)


def test_what_is_not_given_comes_from_the_environment_as_a_processor_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "VP_KAFKA__BOOTSTRAP": "kafka-1:9093",
        "vp_kafka__topic_prefix": "kyc",
        "VP_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "VP_KAFKA__SASL_USERNAME": "onboarding",
        "VP_KAFKA__SASL_PASSWORD": "secret",
        "VP_KAFKA__LEAVE_ON_STOP": "false",
        "VP_BUDGET__MEMORY_S": "60",
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(os, "environ", {name: os.environ[name] for name in variables})
    ours, of_processor = (
        load_settings(kafka={"bootstrap": "kafka-2:9093"}),
        processor.settings.load_settings(kafka={"bootstrap": "kafka-2:9093"}),
    )
    assert ours.kafka == of_processor.kafka
    assert (ours.kafka.bootstrap, ours.kafka.topic_prefix, ours.kafka.leave_on_stop) == ("kafka-2:9093", "kyc", False)
    assert ours.budget.memory_s == of_processor.budget.memory_s == 60


def test_it_begins_with_the_defaults_of_a_processor() -> None:
    ours, of_processor = load_settings(kafka={}), processor.settings.load_settings()
    assert ours.kafka == of_processor.kafka
    assert ours.budget.memory_s == of_processor.budget.memory_s


def test_settings_of_kafka_go_before_the_environment_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_KAFKA__TOPIC_PREFIX", "kyc")
    assert load_settings(kafka=KafkaSettings(bootstrap="kafka:9092")).kafka.topic_prefix == "verification"


def test_every_fault_is_said_with_its_variable_and_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_KAFKA__SECURITY_PROTOCOL", "s3cret")
    monkeypatch.setenv("VP_KAFKA__BOOTSTRAPS", "s3cret")
    monkeypatch.setenv("VP_BUDGET__MEMORY_S", "s3cret")
    monkeypatch.setenv("VP_DIDIT__API_KEY", "is the processor's")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(kafka={})
    lines = str(caught.value).splitlines()
    assert lines[0] == "the configuration is not usable:"
    assert {line.strip().partition(":")[0] for line in lines[1:]} == {
        "VP_KAFKA__SECURITY_PROTOCOL",
        "VP_KAFKA__BOOTSTRAPS",
        "VP_BUDGET__MEMORY_S",
    }
    assert "s3cret" not in str(caught.value)


def test_each_fault_of_the_login_is_on_a_line_of_its_own_with_its_variable_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(kafka={})
    told = [line.split(" is missing")[0] for line in str(caught.value).splitlines()[1:]]
    assert told == ["  VP_KAFKA__SASL_USERNAME", "  VP_KAFKA__SASL_PASSWORD"]
