"""Writes docs/configuration.md from the settings: `make docs`. A test holds the page to the code."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from processor.settings import ApplicationSettings, Settings

_HEAD = """# Configuration

Written from `processor/settings/` by `make docs`; do not edit by hand.

Every setting is an environment variable. Structured values are JSON. `VP_CONFIG_FILE` may name a TOML file with the same names, a table for
each group; a variable overrides the same value of the file:

```toml
[kafka]
bootstrap = "kafka-1:9092,kafka-2:9092"

[budget.limits.session-create]
limit = 300
```

Keep secrets out of the file (every command warns about those that it finds there): name the files that hold them with the settings
that end in `_file`. The start is refused if anything is wrong; all faults are listed at once, without the values. An unknown name that
begins with `VP_` is a fault too, and the nearest known name is suggested. (Kubernetes sets such variables for a Service called
`vp-...`: set `enableServiceLinks: false`, as the manifests of `deploy/k8s` do.) `processor settings` shows the settings in effect and
where each comes from. Secrets are masked wherever settings are printed.
"""
_NO_DEFAULT_SHOWN = {"instance_id"}  # it depends on the machine


def configuration_page() -> str:
    """The page."""
    parts = [_HEAD]
    for group, field in Settings.model_fields.items():
        model = field.annotation
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            raise TypeError(f"the settings group {group} is no model")
        parts.append(_section(group, model))
    parts.append(_applications())
    return "\n".join(parts)


def _applications() -> str:
    about = (ApplicationSettings.__doc__ or "").strip()
    lines = ["## applications", "", f"`VP_APPLICATIONS` is a JSON object: name -> an object with these members. {about}"]
    lines += ["In the file of `VP_CONFIG_FILE`: a table for each, `[applications.shop]`.", ""]
    lines += ["| member | default | meaning |", "|---|---|---|"]
    for name, field in ApplicationSettings.model_fields.items():
        lines.append(f"| `{name}` | {_default(name, field)} | {field.description} |")
    return "\n".join([*lines, ""])


def _section(group: str, model: type[BaseModel]) -> str:
    lines = [f"## {group}", "", (model.__doc__ or "").strip(), "", "| variable | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `VP_{group.upper()}__{name.upper()}` | {_default(name, field)} | {meaning} |")
    return "\n".join([*lines, ""])


def _default(name: str, field: FieldInfo) -> str:
    if name in _NO_DEFAULT_SHOWN:
        return "host name"
    value: Any = field.default if field.default_factory is None else field.default_factory()  # type: ignore[call-arg]
    if value is None or value is PydanticUndefined:
        return "-"
    if isinstance(value, dict):
        value = {key: entry.model_dump() for key, entry in value.items()}
    return f"`{json.dumps(value)}`" if isinstance(value, dict | tuple | list) else f"`{value}`"


if __name__ == "__main__":
    print(configuration_page(), end="")  # noqa: T201 - its output is the page
