"""The image, its build, the compose file and the wheel; what is built from them is checked by `make image-check`."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

from deploy_files import ROOT, module, run, tool

from processor.settings import LaneSettings


def test_the_compose_file_is_valid() -> None:
    done = run(tool("docker-compose"), "-f", "deploy/compose.yaml", "config")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("VP_KAFKA__INSTANCE_ID") == 3
    ports = re.findall(r"VP_OBSERVE__PORT: '(\d+)'", done.stdout)
    assert len(ports) == len(set(ports)) == 4  # processors and the receiver share one network


def _compose(*options: str) -> str:
    done = run(tool("docker-compose"), "-f", "deploy/compose.yaml", *options, "config")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_monitoring_comes_with_its_profile_and_every_port_stays_on_this_machine() -> None:
    services = module("yaml").safe_load(_compose("--profile", "monitoring"))["services"]
    tools = {name for name, service in services.items() if service.get("profiles") == ["monitoring"]}
    assert tools == {"prometheus", "grafana", "kafka-ui"}
    assert {name for name, service in services.items() if "profiles" in service} == tools
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert len(published) == 8
    assert all(port.startswith("127.0.0.1:") for port in map(str, published))
    assert len({str(port).split(":")[1] for port in published}) == len(published), "two services want one port"


def test_what_the_compose_file_mounts_is_there_and_fits_together() -> None:
    services, yaml = module("yaml").safe_load(_compose("--profile", "monitoring"))["services"], module("yaml")
    mounts = dict(volume.split(":")[:2] for name in ("prometheus", "grafana") for volume in services[name]["volumes"])
    for path in mounts:
        assert Path(path).exists(), path
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/compose.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped["scrape_configs"]}
    ports = {name: service["environment"]["VP_OBSERVE__PORT"] for name, service in services.items() if name.startswith(("proc", "web"))}
    assert targets == {
        "verification-processor": [f"simulator:{ports[name]}" for name in sorted(ports) if name.startswith("processor")],
        "verification-webhooks": [f"simulator:{ports['webhooks']}"],
    }
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/verification.yaml").read_text())["providers"]
    assert f"{provider['options']['path']}/dashboard.json" in mounts.values()


def test_prometheus_takes_its_configuration() -> None:
    done = run(tool("promtool"), "check", "config", "deploy/prometheus/compose.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_is_clean() -> None:
    done = run(tool("hadolint"), "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert text.rindex("USER") > text.rindex("FROM")


def test_the_wheel_carries_the_schemas(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"processor/_schemas/{p.name}" for p in (ROOT / "schemas").iterdir()} <= names
    assert "processor/devkit/kafka-jars.txt" in names


def test_the_image_check_waits_as_long_as_a_stop_may_take() -> None:
    text = (ROOT / "deploy" / "image" / "check.py").read_text()
    (limit_s,) = re.findall(r"^STOP_LIMIT_S = ([\d.]+)", text, re.MULTILINE)
    assert float(limit_s) == LaneSettings().shutdown_s


def test_ci_installs_what_the_checks_need_and_starts_no_service() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    for name in ("docker-compose", "promtool", "chromium", "buildah", "debootstrap"):
        assert name in text, name
    assert not re.search(r"install .*\bprometheus\b", text)
    assert re.findall(r"^make ([\w-]+)", text, re.MULTILINE) == ["check", "image-check", "simulate", "test"]
    assert text.splitlines()[-1] == 'exit "$status"', "a failure of either, also of the one beside, is the end's status"
