"""Rights for a test's users on a broker with ACLs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.protocol.admin import CreateAclsRequest_v1
from aiokafka.protocol.api import Request

from processor.settings import Settings
from processor.stream.admin import admin_client

_RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional id": 5}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_LITERAL, _PREFIXED, _ALLOW = 3, 4, 3


class Grant(NamedTuple):
    """Operations on a resource; a name that ends with ``*`` is a prefix."""

    resource: str
    name: str
    operations: Sequence[str]


class CreateAcls(Request[CreateAclsRequest_v1]):  # type: ignore[misc]
    """Several at once; aiokafka's own class cannot be sent."""

    API_KEY = 30

    def __init__(self, creations: list[tuple[Any, ...]]) -> None:
        self._creations = creations

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class(self._creations)


async def grant(administrator: Settings, user: str, *grants: Grant) -> None:
    creations = [
        (
            _RESOURCES[resource],
            name.removesuffix("*"),
            _PREFIXED if name.endswith("*") else _LITERAL,
            f"User:{user}",
            "*",
            _OPERATIONS[operation],
            _ALLOW,
        )
        for resource, name, operations in grants
        for operation in operations
    ]
    async with admin_client(administrator, 15.0) as admin:
        answer = await admin._send_request(CreateAcls(creations))  # noqa: SLF001 - aiokafka has no method for it
    assert not [error for error, _ in answer.creation_responses if error], answer
