"""The Python of the pages for callers, as they have it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def examples() -> dict[str, str]:
    """Every block, and every import that a sentence names, under the name of a module: page and number."""
    found: dict[str, str] = {}
    for page in ("README.md", "docs/clients.md"):
        text = (ROOT / page).read_text()
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) + re.findall(r"`(from processor[^`]+)`", text)
        found |= {f"{Path(page).stem.lower()}_{number}": block for number, block in enumerate(blocks)}
    return found
