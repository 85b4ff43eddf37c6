"""The Python of the pages for callers, as they have it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def examples(module: str = "processor.client") -> dict[str, str]:
    """Every block, and every import that a sentence names, under the name of a module: page and number.

    Args:
        module: where they are to import the client from.
    """
    found: dict[str, str] = {}
    for page in ("README.md", "docs/clients.md"):
        text = (ROOT / page).read_text().replace("verification_client", module)
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        blocks += re.findall(rf"`(from {re.escape(module)} [^`]+)`", text)
        found |= {f"{Path(page).stem.lower()}_{number}": block for number, block in enumerate(blocks)}
    return found
