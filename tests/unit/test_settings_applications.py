"""Applications beside the default one: their settings, derived, and what two of them cannot have at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from processor.observe import application
from processor.settings import DEFAULT_APPLICATION, ConfigurationError, load_settings
from processor.settings.applications import DERIVED
from processor.settings.config_file import read_config_file, secrets_in
from processor.settings.effective import effective_settings
from processor.settings.environment import variable
from processor.stream.acl_table import AclOperation
from processor.stream.rights import needed_on_topics
from processor.stream.topics import TopicFound, topic_faults, topic_names, topic_specs

WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"
SHOP: dict[str, Any] = {"api_key": "key-of-shop", "limits": {"session-create": {"limit": 3}}, "workflows": [WORKFLOW.upper()]}
DEFAULT = {"didit": {"api_key": "key-of-default"}, "kafka": {"topic_prefix": "v", "group": "g", "instance_id": "pod-1"}}


def faults_of(applications: dict[str, Any], **groups: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(**{**DEFAULT, **groups}, applications=applications)
    assert "key-of" not in str(raised.value)
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


def test_one_name_for_the_default_application() -> None:
    assert DEFAULT_APPLICATION == application.DEFAULT_APPLICATION


def test_without_applications_nothing_changes() -> None:
    settings = load_settings(**DEFAULT)
    assert [each.application for each in settings.installations] == ["default"]
    assert topic_names(settings).applications == ()


def test_an_application_is_an_installation_of_its_own() -> None:
    webhooks = {"secrets": ["of-default-0123"], "in_run": True}
    common = load_settings(**DEFAULT, webhooks=webhooks, applications={"shop": SHOP, "a-bank": {"results_topic": "bank.answers"}})
    shop, bank = common.for_application("shop"), common.for_application("a-bank")
    assert [each.application for each in common.installations] == ["default", "shop", "a-bank"]
    assert (shop.kafka.topic_prefix, shop.kafka.group, shop.kafka.instance_id) == ("v.shop", "g-shop", "pod-1.shop")
    assert (shop.didit.key(), bank.didit.key(), common.didit.key()) == ("key-of-shop", None, "key-of-default")
    assert (shop.rate_limits["session-create"].limit, bank.rate_limits["session-create"].limit) == (3, 600)
    assert (shop.didit.workflows, shop.didit.workflows_only, bank.didit.workflows_only) == ((WORKFLOW,), True, False)
    assert (shop.webhooks.secrets, shop.webhooks.in_run) == ((), False), "no secret of another application counts"
    names = topic_names(bank)
    assert (names.requests, names.results, names.budget) == ("v.a-bank.requests", "bank.answers", "v.a-bank.budget")
    assert shop.applications == {}, "no application of an application"
    assert shop.retry is common.retry


def test_topics_of_applications_are_disjoint_and_take_what_is_handed_on() -> None:
    common = load_settings(**DEFAULT, applications={"shop": SHOP, "bank": {}})
    specs = [spec for each in common.installations for spec in topic_specs(each, partitions=1, replication=1)]
    assert len({spec.name for spec in specs}) == len(specs)
    handed_on = next(spec for spec in specs if spec.name == "v.shop.requests")
    fault = topic_faults(handed_on, TopicFound(1, {"max.message.bytes": "1048588"}))
    assert fault == ["v.shop.requests: max.message.bytes is 1048588; raise it to 1114124"]
    assert AclOperation.WRITE in needed_on_topics(common)["v.shop.requests"], "the lanes of the default application hand requests on"
    assert AclOperation.WRITE not in needed_on_topics(common.for_application("shop"))["v.shop.requests"]


@pytest.mark.parametrize(
    ("applications", "expected"),
    [
        ({"Shop": {}}, "VP_APPLICATIONS.Shop: the name of an application is 1 to 40 characters"),
        ({"-shop": {}}, "VP_APPLICATIONS.-shop: the name of an application"),
        ({"default": {}}, "VP_APPLICATIONS.default: this name is taken"),
        ({"retry": {}}, "VP_APPLICATIONS.retry: this name is taken"),
        ({"shop": {"api_keys": "x"}}, "VP_APPLICATIONS.shop.api_keys: Extra inputs"),
        ({"shop": {"api_key": "key-of shop"}}, "VP_APPLICATIONS.shop: api_key holds a blank"),
        (
            {"shop": {"api_key_file": "/nowhere/key"}},
            "VP_APPLICATIONS.shop: api_key_file: /nowhere/key cannot be read (No such file or directory)",
        ),
        ({"shop": {"api_key": "a", "api_key_file": "/nowhere/key"}}, "VP_APPLICATIONS.shop: set api_key or api_key_file, not both"),
        ({"shop": {"api_key_file": "/"}}, "VP_APPLICATIONS.shop: api_key_file: / is a folder, and must be a file"),
        ({"shop": {"limits": {"session-create": {"limit": 0}}}}, "VP_APPLICATIONS.shop.limits.session-create.limit: Input should be"),
        ({"shop": {"limits": {"nope": {"limit": 1}}}}, "VP_APPLICATIONS.shop: limits names scopes that no operation counts in: nope"),
        ({"shop": {"workflows": []}}, "VP_APPLICATIONS.shop: workflows is empty"),
        ({"shop": {"workflows": ["no-uuid"]}}, "VP_APPLICATIONS.shop.workflows.0: is no UUID"),
        ({"shop": {"api_key": "key-of-default"}}, "VP_APPLICATIONS.shop.budget_topic: has the API key of 'default' and another budget log"),
        (
            {"shop": {"api_key": "key-of-shop", "budget_topic": "v.budget"}},
            "VP_APPLICATIONS.shop.budget_topic: v.budget is that of 'default'",
        ),
        (
            {"shop": {"api_key": "key-of-default", "budget_topic": "v.budget", "limits": {"session-create": {"limit": 3}}}},
            "VP_APPLICATIONS.shop.limits: differ from those of 'default'",
        ),
        ({"shop": {"results_topic": "v.results"}}, "VP_APPLICATIONS.shop.results_topic: v.results is that of 'default' too"),
        ({"shop": {"results_topic": "v.dead-letters"}}, "VP_APPLICATIONS.shop.results_topic: v.dead-letters is a topic for something else"),
        ({"shop": {"results_topic": "v.retry.1m"}}, "VP_APPLICATIONS.shop.results_topic: v.retry.1m is a topic for something else"),
        ({"shop": {"budget_topic": "v.results"}}, "VP_APPLICATIONS.shop.budget_topic: v.results is a topic for something else"),
        (
            {"shop": {"webhook_secrets_file": "/s"}, "bank": {"webhook_secrets_file": "/s"}},
            "VP_APPLICATIONS.bank.webhook_secrets_file: is that of 'shop' too",
        ),
        ([1], "VP_APPLICATIONS: Input should be"),
    ],
)
def test_a_fault_is_named_by_its_path(applications: Any, expected: str) -> None:
    found = faults_of(applications)
    assert any(line.startswith(expected) for line in found), found


def test_all_faults_are_told_at_once() -> None:
    found = faults_of({"Bad": {}, "shop": {"colour": 1}}, lanes={"work_max": 0})
    assert [line.partition(":")[0] for line in found] == ["VP_LANES__WORK_MAX", "VP_APPLICATIONS.Bad", "VP_APPLICATIONS.shop.colour"]


def test_each_fault_of_one_application_is_on_a_line_of_its_own() -> None:
    assert faults_of({"shop": {"api_key_file": "/", "workflows": []}}) == [
        "VP_APPLICATIONS.shop: api_key_file: / is a folder, and must be a file",
        "VP_APPLICATIONS.shop: workflows is empty, so that no session could be made; leave it out to allow any",
    ]


def test_a_name_that_makes_others_too_long_is_refused() -> None:
    found = faults_of({"s" * 40: {}}, kafka={"topic_prefix": "v" * 80})
    assert found[0].startswith(f"VP_APPLICATIONS.{'s' * 40}: its topic_prefix: ")


def test_applications_of_one_key_share_a_log_and_its_limits() -> None:
    limits = {"session-create": {"limit": 3}}
    shared = {"api_key": "key-of-default", "budget_topic": "v.budget", "limits": limits}
    common = load_settings(**DEFAULT, budget={"limits": limits}, applications={"shop": shared})
    assert len({each.budget_topic for each in common.installations}) == 1
    assert len({each.kafka.instance_id for each in common.installations}) == 2, "two members of one log have two names"


def test_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("key-of-bank\n")
    (tmp_path / "processor.toml").write_text(
        f'[applications.bank]\napi_key_file = "{tmp_path / "key"}"\n[applications.bank.limits.session-create]\nlimit = 7\n'
        '[applications.shop]\napi_key = "in-the-file"\n'
    )
    monkeypatch.setenv("VP_CONFIG_FILE", str(tmp_path / "processor.toml"))
    monkeypatch.setenv("VP_APPLICATIONS", json.dumps({"shop": SHOP}))
    common = load_settings()
    keys = {each.application: each.didit.key() for each in common.installations}
    assert keys == {"default": None, "bank": "key-of-bank", "shop": "key-of-shop"}
    assert secrets_in(type(common), read_config_file()) == ["applications.shop.api_key"]
    monkeypatch.setenv("VP_APPLICATION", "bank")
    assert load_settings().application == "bank"
    monkeypatch.setenv("VP_APPLICATION", "other")
    with pytest.raises(ConfigurationError, match="names no application 'other'; there are: default, bank, shop"):
        load_settings()
    monkeypatch.setenv("VP_APPLICATIONS", "{")
    with pytest.raises(ConfigurationError, match="VP_APPLICATIONS: must be a JSON object"):
        load_settings()


def test_shown_settings_say_what_is_of_the_application() -> None:
    common = load_settings(**DEFAULT, applications={"shop": SHOP})
    shop = {each.variable: each for each in effective_settings(common.for_application("shop"), ())}
    changed = {name for name, each in shop.items() if each.source == "application"}
    assert changed == DERIVED
    whole = {group: getattr(common, group) for group in type(common).model_fields}
    differ = {
        variable([group, name])
        for group, values in whole.items()
        for name in type(values).model_fields
        if getattr(values, name) != getattr(getattr(common.for_application("shop"), group), name)
    }
    assert differ <= DERIVED, "what is derived is said to be"
    shown = next(each for each in effective_settings(common, ()) if each.variable == "VP_APPLICATIONS")
    assert shown.value["shop"]["api_key"] == "**********"
