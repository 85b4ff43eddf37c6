"""Another project's client, the unofficial ``didit-sdk`` 0.4.0. Test modules that import this are skipped without it, and fail in CI."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

try:
    didit: Any = importlib.import_module("didit")
except ModuleNotFoundError:
    if os.environ.get("CI"):
        raise
    pytest.skip("the package didit-sdk==0.4.0 is not installed", allow_module_level=True)
