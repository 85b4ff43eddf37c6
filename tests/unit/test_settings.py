"""Settings: all faults at once, no value and no secret in a text."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path

import pytest

from processor.didit.catalog import OPERATIONS
from processor.settings import ConfigurationError, Settings, load_settings, secrets_in_file
from processor.settings.config_file import read_config_file, variables_of
from processor.settings.effective import EffectiveSetting, effective_settings
from processor.settings.files import FILES_MAX


def test_every_fault_is_named_with_its_variable_and_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "VP_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "VP_DIDIT__BASE_URL": "http://secret-host.example",
        "VP_RETRY__DELAYS_S": "[30, 20]",
        "VP_BUDGET__QUEUE_MAX": "0",
        "VP_LANES__DRAIN_S": "-5",
        "VP_LOG__LEVEL": "loudest",
        "VP_BUDGET__LIMITS": '{"session-create": {"limit": 0}}',
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    text = str(raised.value)
    for variable in ("VP_KAFKA", "VP_DIDIT__BASE_URL", "VP_RETRY__DELAYS_S", "VP_BUDGET__QUEUE_MAX", "VP_LANES__DRAIN_S", "VP_LOG__LEVEL"):
        assert variable in text, variable
    assert "VP_BUDGET__LIMITS__SESSION-CREATE__LIMIT" in text
    assert "secret-host" not in text
    assert "loudest" not in text


def test_each_fault_of_one_group_is_on_a_line_of_its_own_with_its_variable_once(tmp_path: Path) -> None:
    didit = {"base_url": "ftp://x/y", "api_key_file": tmp_path, "workflows_only": True, "proxy_password_file": tmp_path / "absent"}
    with pytest.raises(ConfigurationError) as raised:
        load_settings(didit=didit, budget={"limits": {"nope": {"limit": 1}}, "ask_wait_s": 5, "skew_s": 10})
    assert [line.split(" ")[2].strip(":") for line in str(raised.value).splitlines()[1:]] == [
        *["VP_DIDIT__BASE_URL"] * 2,
        "VP_DIDIT__WORKFLOWS_ONLY",
        "VP_DIDIT__API_KEY_FILE",
        "VP_DIDIT__PROXY_PASSWORD_FILE",
        "VP_DIDIT",  # of two variables
        "VP_BUDGET__LIMITS",
        "VP_BUDGET__ASK_WAIT_S",
    ]
    assert f"VP_DIDIT__API_KEY_FILE: {tmp_path} is a folder, and must be a file" in str(raised.value)
    assert f"{tmp_path}/absent cannot be read (No such file or directory)" in str(raised.value)


def test_a_member_of_a_wrong_form_hides_nothing_else_of_its_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = {"VP_DIDIT__TIMEOUT_S": "in-clear", "VP_DIDIT__CALLS_MAX": "0", "VP_DIDIT__API_KEY_FILE": "/absent/key"}
    for name, value in (wrong | {"VP_BUDGET__SKEW_S": "x", "VP_BUDGET__ASK_WAIT_S": "0.001"}).items():
        monkeypatch.setenv(name, value)
    _configured(monkeypatch, tmp_path, "[didit]\nworkflows_only = true")
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    told = [line.split(" ")[2].strip(":") for line in str(raised.value).splitlines()[1:]]
    assert sorted(told) == sorted([*wrong, "VP_BUDGET__SKEW_S", "VP_DIDIT__WORKFLOWS_ONLY"]), "nothing of the default of what is wrong"
    assert "in-clear" not in str(raised.value)


def test_a_wrong_choice_of_a_mode_brings_no_faults_of_another_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTH", "OAUTH_TOKEN_FILE": "/dev/null"}
    for name, value in given.items():
        monkeypatch.setenv(f"VP_KAFKA__{name}", value)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert [line.partition(":")[0].strip() for line in str(raised.value).splitlines()[1:]] == ["VP_KAFKA__SASL_MECHANISM"]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("VP_BUDGET_LIMITS", "did you mean VP_BUDGET__LIMITS?"),
        ("VP_KAFKAA__BOOTSTRAP", "did you mean VP_KAFKA__BOOTSTRAP?"),
        ("VP_KAFKA__BOOTSTRAPS", "did you mean VP_KAFKA__BOOTSTRAP?"),
        ("vp_didit__timeout", "did you mean VP_DIDIT__TIMEOUT_S?"),
        ("VP_FOO", "remove it"),
        ("VP_BUDGET__LIMITS__SESSION-CREATE__LIMMIT", "is no setting"),
    ],
)
def test_a_name_under_the_prefix_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, advice: str) -> None:
    monkeypatch.setenv(name, "text-in-clear")
    with pytest.raises(ConfigurationError, match=f"{name.upper()}: .*{re.escape(advice)}") as raised:
        load_settings()
    assert "in-clear" not in str(raised.value)
    assert str(raised.value).count(f"  {name.upper()}:") == 1


def test_effective_settings_have_a_source_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_DIDIT__API_KEY", "key-in-clear")
    monkeypatch.setenv("vp_kafka__bootstrap", "kafka:9092")
    monkeypatch.setenv("VP_BUDGET__LIMITS__session-create", '{"limit": 4}')
    monkeypatch.setenv("VP_FOLLOW", '{"missing_s": 30}')
    shown = {each.variable: each for each in effective_settings(load_settings(), os.environ)}
    assert shown["VP_KAFKA__BOOTSTRAP"] == EffectiveSetting("VP_KAFKA__BOOTSTRAP", "kafka:9092", "environment")
    assert shown["VP_BUDGET__LIMITS"].source == shown["VP_FOLLOW__MISSING_S"].source == "environment"
    assert shown["VP_FOLLOW__POLLS_S"].source == shown["VP_LOG__LEVEL"].source == "default"
    assert (shown["VP_DIDIT__API_KEY"].value, shown["VP_WEBHOOKS__SECRETS"].value) == ("**********", [])
    assert len(shown) == sum(len(getattr(load_settings(), group).__class__.model_fields) for group in Settings.model_fields)


FILE = """
[kafka]
bootstrap = "file:9092"
topic_prefix = "of-file"
[budget.limits.session-create]
limit = 4
[didit]
api_key = "key-in-clear"
prices = {aml = "0.20"}
[retry]
delays_s = [5, 50]
"""


def _configured(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    (folder / "processor.toml").write_text(text)
    monkeypatch.setenv("VP_CONFIG_FILE", str(folder / "processor.toml"))


def test_a_file_has_the_same_names_and_the_environment_goes_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _configured(monkeypatch, tmp_path, FILE)
    monkeypatch.setenv("VP_KAFKA__BOOTSTRAP", "environment:9092")
    settings = load_settings()
    assert (settings.kafka.bootstrap, settings.kafka.topic_prefix) == ("environment:9092", "of-file")
    assert (settings.rate_limits["session-create"].limit, settings.retry.delays_s, settings.didit.key()) == (4, (5, 50), "key-in-clear")
    assert settings.didit.prices == {"aml": Decimal("0.20")}
    assert load_settings(kafka={"topic_prefix": "given"}).kafka.topic_prefix == "given"
    assert secrets_in_file() == ["didit.api_key"]
    shown = {each.variable: each for each in effective_settings(settings, os.environ, variables_of(read_config_file()))}
    assert (shown["VP_KAFKA__BOOTSTRAP"].source, shown["VP_KAFKA__TOPIC_PREFIX"].source) == ("environment", "file")
    assert (shown["VP_BUDGET__LIMITS"].source, shown["VP_KAFKA__GROUP"].source) == ("file", "default")
    assert shown["VP_DIDIT__API_KEY"].value == "**********"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka]\nbootstrapp = 'in-clear'", "VP_KAFKA__BOOTSTRAPP: is no setting; did you mean VP_KAFKA__BOOTSTRAP?"),
        ("[kafkaa]\nbootstrap = 'in-clear'", "VP_KAFKAA__BOOTSTRAP: is no setting; did you mean VP_KAFKA__BOOTSTRAP?"),
        ("[didit]\ntimeout_s = 'in-clear'", "VP_DIDIT__TIMEOUT_S: "),
        ("bootstrap = 'in-clear'", "'bootstrap' stands in no table"),
        ("[kafka]\nbootstrap = in-clear", "is no TOML: at line 2"),
        ("[kafka]\nbootstrap = 'in-clear", "is no TOML: at"),
        ("[kafka]\ngroup = 'a'\ngroup = 'in-clear'\n", "is no TOML: at line 3"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_beside_every_other_fault(
    text: str | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _configured(monkeypatch, tmp_path, text or "")
    if text is None:
        (tmp_path / "processor.toml").unlink()
    monkeypatch.setenv("VP_LANES__DRAIN_S", "-5")
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert said in str(raised.value)
    assert "VP_LANES__DRAIN_S" in str(raised.value)
    assert "in-clear" not in str(raised.value)


def test_names_in_any_case_and_names_that_go_on_behind_a_mapping_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("vp_kafka__bootstrap", "kafka:9092")
    monkeypatch.setenv("VP_BUDGET__LIMITS__session-create", '{"limit": 4}')
    settings = load_settings()
    assert (settings.kafka.bootstrap, settings.rate_limits["session-create"].limit) == ("kafka:9092", 4)


def test_a_text_that_is_no_json_hides_no_other_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    no_json = {"VP_RETRY__DELAYS_S": "10,60", "VP_BUDGET__LIMITS": "in-clear", "VP_LOG": "in-clear"}
    wrong = no_json | {"VP_DIDIT__TIMEOUT_S": "abc", "VP_FOO": "1"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    lines = str(raised.value).splitlines()[1:]
    assert {line.split(":")[0].strip() for line in lines} == wrong.keys()
    assert sum("must be a JSON object or array" in line for line in lines) == len(no_json)
    assert "in-clear" not in str(raised.value)


def test_weights_of_tenants_are_checked() -> None:
    weights = {"shop-7": 2.5, "": 0.1}
    assert load_settings(budget={"tenant_weights": weights}).budget.tenant_weights == weights
    for wrong in ({"Ada Lovelace": 1}, {"a": 0}, {"a": 101}, {"t" * 65: 1}, {f"t{n}": 1 for n in range(1001)}):
        with pytest.raises(ConfigurationError, match="VP_BUDGET__TENANT_WEIGHTS"):
            load_settings(budget={"tenant_weights": wrong})


def test_secrets_are_masked_and_come_from_files_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VP_DIDIT__API_KEY", "key-in-clear")
    monkeypatch.setenv("VP_KAFKA__SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("VP_KAFKA__SASL_USERNAME", "user")
    (tmp_path / "password").write_text("password-in-clear\n")
    monkeypatch.setenv("VP_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    settings = load_settings()
    assert "in-clear" not in repr(settings) + settings.model_dump_json()
    assert settings.didit.key() == "key-in-clear"
    options = settings.kafka.client_options()
    assert options["sasl_plain_password"] == "password-in-clear"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"


def test_mutual_tls_reaches_the_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VP_KAFKA__SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("VP_KAFKA__SSL_CERTIFICATE_FILE", str(tmp_path / "absent.pem"))
    with pytest.raises(ConfigurationError, match="needs both"):
        load_settings()
    monkeypatch.delenv("VP_KAFKA__SSL_CERTIFICATE_FILE")
    assert load_settings().kafka.client_options()["ssl_context"].check_hostname


def test_the_api_key_is_read_again_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    settings = load_settings(didit={"api_key_file": file})
    assert settings.didit.key() == "old"
    file.write_text("new\n")
    assert settings.didit.key() == "new"


PORTS = ["https://x:port", "https://x:65536", "https://x:0", "https://[x"]


@pytest.mark.parametrize("url", PORTS)
def test_an_origin_with_a_port_that_is_none_is_told_by_its_variable(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(didit={"base_url": url})
    assert str(caught.value).splitlines()[1:] == ["  VP_DIDIT__BASE_URL must be scheme://host[:port] and nothing else"]


@pytest.mark.parametrize("url", ["http://didit.example", "ftp://x", "https://x/path", "https://user@x", "https://x?q=1", "nonsense"])
def test_only_a_plain_https_origin_is_taken(url: str) -> None:
    with pytest.raises(ConfigurationError, match="VP_DIDIT"):
        load_settings(didit={"base_url": url})
    assert load_settings(didit={"base_url": "http://127.0.0.1:8080"}).didit.base_url


def test_the_waits_of_a_stop_add_up() -> None:
    lanes = load_settings().lanes
    assert lanes.rebalance_timeout_s > lanes.drain_s + lanes.flush_s + lanes.close_s
    assert lanes.shutdown_s >= lanes.drain_s + lanes.flush_s


def test_an_ask_must_wait_longer_than_a_newcomer_allows_for_clocks() -> None:
    with pytest.raises(ConfigurationError, match="VP_BUDGET__ASK_WAIT_S"):
        load_settings(budget={"ask_wait_s": 5, "skew_s": 10})


def test_a_promise_includes_the_files_of_a_call() -> None:
    assert load_settings().promise_s_max == 180.0
    assert load_settings(files={"hosts": ["files.example.com"], "fetch_s": 60.0}).promise_s_max == 300.0
    assert max(len(operation.files) for operation in OPERATIONS.values()) == FILES_MAX


def test_limits_left_out_are_the_documented_ones_and_unknown_scopes_are_refused() -> None:
    found = load_settings(budget={"limits": {"session-create": {"limit": 5, "window_s": 10}}}).rate_limits
    assert (found["session-create"].limit, found["generic-write"].limit, found["session-generate-pdf"].limit) == (5, 300, 50)
    with pytest.raises(ConfigurationError, match="session-creates"):
        load_settings(budget={"limits": {"session-creates": {"limit": 5, "window_s": 10}}})


def test_decisions_have_the_limit_of_their_version_unless_it_is_configured() -> None:
    assert load_settings().rate_limits["session-decision"].limit == 600
    assert load_settings(didit={"api_version": "v2"}).rate_limits["session-decision"].limit == 100
    strict = load_settings(budget={"limits": {"session-decision": {"limit": 100}}}).rate_limits
    assert (strict["session-decision"].limit, strict["session-decision"].window_s, strict["generic-get"].limit) == (100, 60.0, 600)


def test_webhook_secrets_are_masked_several_and_never_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VP_WEBHOOKS__SECRETS", '["new-in-clear", "old-in-clear"]')
    settings = load_settings()
    assert [secret.get_secret_value() for secret in settings.webhooks.secrets] == ["new-in-clear", "old-in-clear"]
    assert "in-clear" not in repr(settings) + settings.model_dump_json()
    monkeypatch.setenv("VP_WEBHOOKS__SECRETS_FILE", str(tmp_path / "secrets"))
    with pytest.raises(ConfigurationError, match="not both"):
        load_settings()
    monkeypatch.delenv("VP_WEBHOOKS__SECRETS_FILE")
    for wrong in ('["in-clear", " "]', '["in-clear"' + ', "x"' * 10 + "]", "in-clear"):
        monkeypatch.setenv("VP_WEBHOOKS__SECRETS", wrong)
        with pytest.raises(ConfigurationError, match="VP_WEBHOOKS__SECRETS") as raised:
            load_settings()
        assert "in-clear" not in str(raised.value)
        assert raised.value.__suppress_context__, "the cause would show the text"


@pytest.mark.parametrize("path", ["", "webhooks", "/a b", "/{name}", "/ä"])
def test_a_webhook_path_is_a_plain_path(path: str) -> None:
    with pytest.raises(ConfigurationError, match="VP_WEBHOOKS__PATH"):
        load_settings(webhooks={"path": path})


@pytest.mark.parametrize("around", ["", "\n", "\r\n", "  ", "\t\n\n"])
def test_blanks_and_line_breaks_around_a_key_are_no_part_of_it(around: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{around}sim-key{around}")
    assert load_settings(didit={"api_key": f"{around}sim-key{around}"}).didit.key() == "sim-key"
    assert load_settings(didit={"api_key_file": file}).didit.key() == "sim-key"


@pytest.mark.parametrize("key", ["", "\n", "one\ntwo", "one two", "k\u00e9y", "k\x00y"])
@pytest.mark.parametrize("from_file", [False, True])
def test_a_key_that_no_header_can_carry_stops_the_start(key: str, from_file: bool, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(key)
    with pytest.raises(ConfigurationError, match="VP_DIDIT") as caught:
        load_settings(didit={"api_key_file": file} if from_file else {"api_key": key})
    assert "one" not in str(caught.value)


@pytest.mark.parametrize("name", ["DIDIT__API_KEY", "DIDIT__PROXY_PASSWORD", "KAFKA__SASL_PASSWORD", "KAFKA__SSL_KEY_PASSWORD"])
def test_a_secret_is_in_the_variable_or_in_the_file_and_never_in_both(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file would not be read: who replaces the secret in it would wait for nothing."""
    (file := tmp_path / "secret").write_text("one")
    monkeypatch.setenv(f"VP_{name}", "another")
    monkeypatch.setenv(f"VP_{name}_FILE", str(file))
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert f"set VP_{name} or VP_{name}_FILE, not both" in str(raised.value)
