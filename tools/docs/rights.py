"""Writes the table of rights of docs/deploy.md from the code: `make docs`. A test holds the page to it.

The rest of the page is written by hand. The table stands between ``<!-- rights -->`` and ``<!-- end of rights -->``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from processor.settings import load_settings
from processor.stream.acl_table import AclGrant, AclOperation, AclResource, AclRole, grants_of

PAGE = Path(__file__).parent.parent.parent / "docs" / "deploy.md"
_TABLE = re.compile(r"(<!-- rights -->\n).*?(<!-- end of rights -->)", re.DOTALL)
_KINDS = {
    AclResource.TOPIC: "topic",
    AclResource.GROUP: "group",
    AclResource.TRANSACTIONAL_ID: "transactional id",
    AclResource.CLUSTER: "the cluster",
}


def rights_page(page: str) -> str:
    """The page with its table as the code has it now.

    Raises:
        ValueError: if the table is not there, or there twice.
    """
    if len(_TABLE.findall(page)) != 1:
        raise ValueError("docs/deploy.md has no table of rights, or several")
    return _TABLE.sub(lambda found: f"{found[1]}{_table()}\n{found[2]}", page)


def _table() -> str:
    rows = [f"| {f'`{role}`: {role.about}' if first else ''} | {on} | {what} |" for role in AclRole for first, on, what in _rows(role)]
    return "\n".join(["| role | on | what |", "|---|---|---|", *rows])


def _rows(role: AclRole) -> Iterator[tuple[bool, str, str]]:
    # names that are no settings can be: the page's placeholders stand for them
    settings = load_settings(kafka={"topic_prefix": "PREFIX", "group": "GROUP"})
    alike: dict[tuple[AclResource, frozenset[AclOperation]], list[AclGrant]] = {}
    for grant in grants_of(role, settings):
        alike.setdefault((grant.resource, grant.operations), []).append(grant)
    for number, ((resource, operations), grants) in enumerate(alike.items()):
        names = ", ".join(f"`{grant.name}{'*' if grant.prefixed else ''}`" for grant in grants)
        names = names.replace("PREFIX", "<prefix>").replace("GROUP", "<group>")
        kind = _KINDS[resource] + ("s" if len(grants) > 1 else "")
        on = kind if resource is AclResource.CLUSTER else f"{kind} {names}"
        yield number == 0, on, ", ".join(operation.title for operation in sorted(operations))


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("VP_")]:
        del os.environ[variable]  # the page is of the defaults, whatever this shell is set up for
    PAGE.write_text(rights_page(PAGE.read_text()))
