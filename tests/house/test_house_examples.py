"""The examples are pinned, name no registry, and use the Kafka client that the tests' broker is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from processor.devkit.jars import pinned_jars

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_the_lock_of_npm_names_no_host_and_pins_everything() -> None:
    text = (EXAMPLES / "node" / "package-lock.json").read_text()
    assert "://" not in text, "install with --omit-lockfile-registry-resolved, and leave out the members `funding`"
    packages = {name: package for name, package in json.loads(text)["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
    wanted = json.loads((EXAMPLES / "node" / "package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted, "exact versions"


def test_java_builds_with_the_jars_that_the_tests_fetch() -> None:
    text = (EXAMPLES / "java" / "pom.xml").read_text()
    named = set(re.findall(r"<artifactId>([\w-]+)</artifactId>\s*<version>([\w.]+)</version>\s*</dependency>", text))
    assert named == {(jar.artifact, jar.version) for jar in pinned_jars() if jar.artifact in {"kafka-clients", "jackson-databind"}}


@pytest.mark.parametrize("program", ["python/ask.py", "java/Ask.java", "node/ask.mjs", "go/main.go"])
def test_an_example_is_short_and_the_page_leads_to_it(program: str) -> None:
    assert (EXAMPLES / program).read_text().count("\n") <= 125
    assert f"]({program})" in (EXAMPLES / "README.md").read_text()
