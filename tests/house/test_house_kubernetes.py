"""What `kubectl apply -k` would send: valid, closed, and in step with the settings, the ports and the deadlines of the code."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from deploy_files import K8S, ROOT, module, render, run, tool

from processor.settings import LaneSettings, ObserveSettings, Settings, WebhookSettings
from processor.stream.acl_table import AclRole
from processor.stream.topics import topic_names
from processor.webhooks.service import _STOP_S_MAX

OVERLAYS = ["local", "prod", "prod-keda"]
WORKLOADS = {"StatefulSet", "Deployment", "Job"}
UNKNOWN_KINDS = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule"}  # no schema among Kubernetes' own
FOREIGN_IMAGES = {"apache/kafka:4.3.1"}
SECRET_FILES = {
    "VP_DIDIT__API_KEY_FILE",
    "VP_KAFKA__SASL_PASSWORD_FILE",
    "VP_KAFKA__SSL_CA_FILE",
    "VP_WEBHOOKS__SECRETS_FILE",
    "VP_OBSERVE__TOKEN_FILE",
}
HEALTH = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def _objects(overlay: str, *kinds: str) -> list[dict[str, Any]]:
    return [found for found in render(f"overlays/{overlay}")[1] if found["kind"] in kinds]


def _named(overlay: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in _objects(overlay, kind) if each["metadata"]["name"] == name]
    return found


def _pods(overlay: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found["spec"]["template"]["spec"] for found in _objects(overlay, *WORKLOADS)}


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def _ours(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [container for container in _containers(pod) if container["image"] not in FOREIGN_IMAGES]


def _plain(overlay: str) -> dict[str, str]:
    (settings,) = [
        found["data"] for found in _objects(overlay, "ConfigMap") if found["metadata"]["name"].startswith("verification-settings")
    ]
    return dict(settings)


def _environment(overlay: str, container: dict[str, Any]) -> dict[str, str]:
    """Variables of a container; those from fields of the pod are empty."""
    maps = {found["metadata"]["name"]: found.get("data") or {} for found in _objects(overlay, "ConfigMap")}
    read: dict[str, str] = {}
    for source in container.get("envFrom", []):
        read |= maps[source["configMapRef"]["name"]]  # Kubernetes: the last source of a name takes precedence
    return read | {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str, tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(render(f"overlays/{overlay}")[0])
    done = run(tool("kubernetes-validate"), "--strict", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    unknown = {
        line.split("schema for kind ")[1].split()[0] for line in (done.stdout + done.stderr).splitlines() if "schema for kind" in line
    }
    assert unknown <= UNKNOWN_KINDS
    assert (done.stdout + done.stderr).count("passed for resource") == len(render(f"overlays/{overlay}")[1]) - len(
        _objects(overlay, *UNKNOWN_KINDS)
    )


def test_base_and_components_stand_by_themselves() -> None:
    assert {found["kind"] for found in render("base")[1]} >= {"StatefulSet", "Service", "PodDisruptionBudget", "NetworkPolicy", "Job"}
    lines = [line.strip() for path in K8S.glob("overlays/*/kustomization.yaml") for line in path.read_text().splitlines()]
    used = {line.rsplit("/", 1)[1] for line in lines if line.startswith("- ../../components/")}
    assert used == {path.name for path in (K8S / "components").iterdir()}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_exists_and_is_accepted(overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {f"VP_{group.upper()}__{name.upper()}" for group, field in Settings.model_fields.items()
              for name in getattr(field.annotation, "model_fields", {})}  # fmt: skip
    for pod in _pods(overlay).values():
        for container in _ours(pod):
            given = {name: value for name, value in _environment(overlay, container).items() if name.startswith("VP_")}
            assert set(given) <= groups, set(given) - groups
            with monkeypatch.context() as patch:
                for name, value in given.items():
                    patch.setenv(name, _file(tmp_path, name) if name.endswith("_FILE") else value or "a-name")
                if "VP_KAFKA__SSL_CA_FILE" in given:
                    patch.delenv("VP_KAFKA__SSL_CA_FILE")
                Settings()


def _file(folder: Path, name: str) -> str:
    file = folder / name
    file.write_text("a-secret-of-some-length")
    return str(file)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_may_do_more_than_it_must(overlay: str) -> None:
    for name, pod in _pods(overlay).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        for container in _containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, container["name"]
            assert own["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert {"requests", "limits"} <= container["resources"].keys(), container["name"]
        for container in _ours(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, container["name"]
            assert context["runAsUser"] == context["runAsGroup"] == 10001, name
            assert "cpu" not in container["resources"]["limits"], container["name"]  # throttling delays heartbeats


def test_the_image_has_the_user_of_the_manifests() -> None:
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_the_files(overlay: str) -> None:
    made = {found["metadata"]["name"].rsplit("-", 1)[0]: found["data"] for found in _objects(overlay, "Secret")}
    values = {base64.b64decode(value).decode() for data in made.values() for value in data.values()}
    assert values == ({"sim-key", "only-for-trying-it-out"} if overlay == "local" else set())
    for pod in _pods(overlay).values():
        for container in _ours(pod):
            for name in _environment(overlay, container):
                secret = any(word in name for word in ("KEY", "PASSWORD", "SECRET", "TOKEN")) and not name.endswith("_FILE")
                assert not secret, name
            for entry in container.get("env", []):
                assert "secretKeyRef" not in entry.get("valueFrom", {}), entry  # a variable is not read again


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_file_is_mounted_where_the_setting_looks(overlay: str) -> None:
    for name, pod in _pods(overlay).items():
        for container in _ours(pod):
            mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
            for variable, value in _environment(overlay, container).items():
                if variable in SECRET_FILES:
                    mount = mounts[str(Path(value).parent)]
                    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
                    assert mount["readOnly"] is True
                    assert volume["secret"]["defaultMode"] == 0o440, name
    assert "VP_DIDIT__API_KEY_FILE" in _environment(overlay, _ours(_pods(overlay)["verification-processor"])[-1])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_restart_moves_no_partitions(overlay: str) -> None:
    found = _named(overlay, "StatefulSet", "verification-processor")
    container = _ours(found["spec"]["template"]["spec"])[-1]
    (name,) = [entry for entry in container["env"] if entry["name"] == "VP_KAFKA__INSTANCE_ID"]
    assert name["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert found["spec"]["podManagementPolicy"] == "Parallel"
    environment = _environment(overlay, container)
    assert environment["VP_KAFKA__LEAVE_ON_STOP"] == "false"
    assert float(environment["VP_LANES__SESSION_TIMEOUT_S"]) >= LaneSettings().shutdown_s + 10


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_is_killed_before_his_time(overlay: str) -> None:
    pods = _pods(overlay)
    assert pods["verification-processor"]["terminationGracePeriodSeconds"] >= LaneSettings().shutdown_s + 10
    assert "lifecycle" not in _ours(pods["verification-processor"])[-1]
    if "verification-webhooks" in pods:
        (container,) = pods["verification-webhooks"]["containers"]
        sleep_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pods["verification-webhooks"]["terminationGracePeriodSeconds"] >= sleep_s + _STOP_S_MAX + 10


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_where_the_health_server_answers(overlay: str) -> None:
    pods = _pods(overlay)
    for name in {"verification-processor", "verification-webhooks"} & pods.keys():
        container = _ours(pods[name])[-1]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["observe"] == ObserveSettings().port
        assert ports.get("webhooks", WebhookSettings().port) == WebhookSettings().port
        assert _environment(overlay, container)["VP_OBSERVE__HOST"] == "0.0.0.0"  # noqa: S104 - in its own pod
        for probe, path in HEALTH.items():
            assert container[probe]["httpGet"] == {"path": path, "port": "observe"}, probe
        # liveness itself waits for VP_OBSERVE__STALL_S: the probe adds patience, and does not wait for minutes
        alive = container["livenessProbe"]
        assert 20 <= alive["periodSeconds"] * alive["failureThreshold"] <= 60


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_budgets_and_policies_find_their_pods(overlay: str) -> None:
    labels = [found["spec"]["template"]["metadata"]["labels"] for found in _objects(overlay, *WORKLOADS)]

    def fits(selector: dict[str, str]) -> bool:
        return any(selector.items() <= each.items() for each in labels)

    for found in _objects(overlay, "Service"):
        assert fits(found["spec"]["selector"]), found["metadata"]["name"]
    for found in _objects(overlay, "PodDisruptionBudget"):
        assert fits(found["spec"]["selector"]["matchLabels"]), found["metadata"]["name"]
    for found in _objects(overlay, "NetworkPolicy"):
        assert fits(found["spec"]["podSelector"]["matchLabels"]), found["metadata"]["name"]
    for found in _objects(overlay, *WORKLOADS):
        spec = found["spec"]
        assert spec.get("selector", {}).get("matchLabels", {}).items() <= spec["template"]["metadata"]["labels"].items()


def test_the_network_is_closed_but_for_what_is_named() -> None:
    policies = {found["metadata"]["name"]: found["spec"] for found in _objects("prod-keda", "NetworkPolicy")}
    deny = policies.pop("verification-deny")
    assert deny == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "verification-processor"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    ports = {name: {port["port"] for way in ("ingress", "egress") for rule in spec.get(way, []) for port in rule["ports"]}
             for name, spec in policies.items()}  # fmt: skip
    assert ports == {
        "verification-kafka": {53, 9093},
        "verification-didit": {443},
        "verification-observe": {8070},
        "verification-webhooks": {8090},
        "verification-tracing": {4318},
    }
    for name, spec in policies.items():
        assert all(rule.get("from") for rule in spec.get("ingress", [])), name
    assert _plain("prod-keda")["VP_KAFKA__BOOTSTRAP"].endswith(":9093")


def test_the_ingress_lets_only_the_path_of_the_receiver_through() -> None:
    spec = _named("prod", "Ingress", "verification-webhooks")["spec"]
    (path,) = spec["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"]) == (WebhookSettings().path, "Exact")
    assert spec["tls"][0]["hosts"] == [spec["rules"][0]["host"]]


def test_keda_scales_by_what_waits_and_fixes_no_count() -> None:
    assert "replicas" not in _named("prod-keda", "StatefulSet", "verification-processor")["spec"]
    assert not _objects("prod-keda", "HorizontalPodAutoscaler")
    (scaled,) = _objects("prod-keda", "ScaledObject")
    lag, drain = scaled["spec"]["triggers"]
    settings = _plain("prod-keda")
    assert lag["metadata"]["topic"] == topic_names(Settings()).requests
    assert lag["metadata"]["limitToPartitionsWithLag"] == "true"
    assert lag["metadata"]["consumerGroup"] == settings["VP_KAFKA__GROUP"] == Settings().kafka.group
    assert lag["metadata"]["bootstrapServers"] == settings["VP_KAFKA__BOOTSTRAP"]
    assert settings["VP_KAFKA__TOPIC_PREFIX"] == Settings().kafka.topic_prefix
    rules = {rule["record"] for (found,) in [_objects("prod-keda", "PrometheusRule")] for group in found["spec"]["groups"]
             for rule in group["rules"] if "record" in rule}  # fmt: skip
    assert drain["metadata"]["query"].removeprefix("max(").split("{")[0] in rules
    assert _plain("prod-keda").get("VP_OBSERVE__SURVEY_S", "15") != "0"  # the series is set by the survey
    args = _ours(_pods("prod-keda")["verification-topics"])[0]["args"]
    assert scaled["spec"]["maxReplicaCount"] <= int(args[args.index("--partitions") + 1])
    assert scaled["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "verification-processor"}


def test_keda_looks_where_the_processors_look_whatever_an_overlay_says(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    overlay = tmp_path / "deploy" / "k8s" / "overlays" / "prod" / "kustomization.yaml"
    text = overlay.read_text().replace("=kafka-bootstrap.kafka.svc:9093", "=b-1.example:9098")
    changed = "      - VP_KAFKA__GROUP=checks\n      - VP_KAFKA__TOPIC_PREFIX=people.checks\n      - VP_KAFKA__SECURITY_PROTOCOL"
    overlay.write_text(text.replace("      - VP_KAFKA__SECURITY_PROTOCOL", changed))
    done = run(tool("kubectl"), "kustomize", str(tmp_path / "deploy" / "k8s" / "overlays" / "prod-keda"))
    assert done.returncode == 0, done.stderr
    (scaled,) = [found for found in module("yaml").safe_load_all(done.stdout) if found["kind"] == "ScaledObject"]
    lag = scaled["spec"]["triggers"][0]["metadata"]
    found = (lag["bootstrapServers"], lag["consumerGroup"], lag["topic"])
    assert found == ("b-1.example:9098", "checks", "people.checks.requests")


def test_each_role_has_a_kafka_user_a_secret_and_an_account_of_its_own() -> None:
    pods = {name: pod for name, pod in _pods("prod-keda").items() if _ours(pod)}
    assert set(pods) == {"verification-processor", "verification-webhooks", "verification-topics"}
    users = {name: _environment("prod-keda", _ours(pod)[-1])["VP_KAFKA__SASL_USERNAME"] for name, pod in pods.items()}
    roles = {"verification-processor": AclRole.PROCESSORS, "verification-webhooks": AclRole.RECEIVERS, "verification-topics": AclRole.JOB}
    assert users == {name: f"{Settings().kafka.topic_prefix}-{role}" for name, role in roles.items()}, "as `processor acls` names them"
    assert {pod["serviceAccountName"] for pod in pods.values()} == set(pods)
    secrets = {name: {volume["secret"]["secretName"] for volume in pod["volumes"]} for name, pod in pods.items()}
    (authentication,) = _objects("prod-keda", "TriggerAuthentication")
    secrets["scaler"] = {entry["name"] for entry in authentication["spec"]["secretTargetRef"]}
    assert not [name for name in secrets for other in secrets if name < other and secrets[name] & secrets[other]], secrets
    # what faces the internet: nothing but its own two
    assert secrets["verification-webhooks"] == {"verification-kafka-webhooks", "verification-webhooks"}


def test_the_job_may_be_made_again_by_argo_and_flux() -> None:
    annotations = _named("prod", "Job", "verification-topics")["metadata"]["annotations"]
    assert annotations == {
        "argocd.argoproj.io/hook": "Sync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
        "kustomize.toolkit.fluxcd.io/force": "enabled",
    }


def test_priority_and_the_registrys_login_reach_every_pod() -> None:
    (priority,) = _objects("prod-keda", "PriorityClass")
    pods = _pods("prod-keda")
    assert {pods[name].get("priorityClassName") for name in ("verification-processor", "verification-webhooks")} == {
        priority["metadata"]["name"]
    }
    accounts = {found["metadata"]["name"]: found for found in _objects("prod-keda", "ServiceAccount")}
    assert accounts.keys() == {pod["serviceAccountName"] for pod in pods.values()}
    assert all(found["imagePullSecrets"] == [{"name": "verification-registry"}] for found in accounts.values())
    for found in _objects("prod", "ServiceAccount", "StatefulSet"):
        assert "imagePullSecrets" not in found, "an option"
    assert not _objects("prod", "PriorityClass")


@pytest.mark.slow
@pytest.mark.parametrize("fault", [None, {"maxReplicaCount": "many"}])
def test_keda_would_take_the_scaled_object(fault: dict[str, Any] | None) -> None:
    tool("kubectl")
    module("cloudcoil.models.keda")
    (scaled,) = _objects("prod-keda", "ScaledObject")
    scaled = scaled | {"spec": scaled["spec"] | (fault or {})}
    # a process of its own: the models load slowly and bring a pytest plugin
    code = "import sys, json; from cloudcoil.models.keda.v1alpha1 import ScaledObject; ScaledObject.model_validate(json.load(sys.stdin))"
    done = subprocess.run([sys.executable, "-c", code], input=orjson.dumps(scaled), capture_output=True, check=False)
    assert (done.returncode == 0) is (fault is None), done.stderr.decode()


def test_the_prometheus_rule_is_the_tested_one() -> None:
    rules = module("yaml").safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    (rule,) = _objects("prod", "PrometheusRule")
    assert rule["spec"] == rules, "run `make deploy-files`"


def test_prometheus_finds_processors_and_receivers_under_the_names_of_the_rules() -> None:
    (monitor,) = _objects("prod", "ServiceMonitor")
    selector = monitor["spec"]["selector"]["matchLabels"]
    jobs = {found["metadata"]["labels"]["app.kubernetes.io/name"] for found in _objects("prod", "Service")
            if selector.items() <= found["metadata"].get("labels", {}).items()
            and "observe" in {port["name"] for port in found["spec"]["ports"]}}  # fmt: skip
    assert jobs == {"verification-processor", "verification-webhooks"}
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"


def test_the_dashboard_fits_into_a_config_map() -> None:
    (board,) = [found for found in _objects("prod", "ConfigMap") if found["metadata"]["name"] == "verification-dashboard"]
    assert len(board["data"]["verification.json"]) < 200_000  # kubectl keeps a copy in an annotation of at most 256 KiB
