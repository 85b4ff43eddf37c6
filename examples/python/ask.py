"""Publishes one request, waits for its final result, and prints it. See the README beside the examples."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid

from verification_client import ClientError, InvalidRequestError, InvalidSettingsError, ResultTimeoutError, VerificationClient

FAILED, USAGE, NO_RESULT = 1, 2, 3


async def ask(operation: str, request_input: dict[str, object], request_id: str) -> int:
    """The exit status. How to reach Kafka is read from the environment."""
    timeout_s = float(os.environ.get("TIMEOUT_S", "120"))
    async with VerificationClient() as client:
        # reads from the end on before it publishes, read_committed, and finds a copy that answers this record
        result = await client.request(operation, request_input, request_id=request_id, timeout_s=timeout_s)
    print(request_id, result.status)
    if result.error is not None:
        print(f"{result.error.code}: {result.error.message}", file=sys.stderr)
    return 0 if result.succeeded else FAILED


def main(arguments: list[str]) -> int:
    """OPERATION INPUT [REQUEST_ID]."""
    try:
        operation, request_input, *rest = arguments
        return asyncio.run(ask(operation, json.loads(request_input), rest[0] if rest else str(uuid.uuid4())))
    except (InvalidRequestError, InvalidSettingsError) as exc:
        print(exc, file=sys.stderr)
        return USAGE
    except ValueError:
        print("usage: ask.py OPERATION INPUT-AS-JSON [REQUEST_ID]", file=sys.stderr)
        return USAGE
    except ResultTimeoutError as exc:
        print(f"{exc}; ask again under this id", file=sys.stderr)
        return NO_RESULT
    except ClientError as exc:
        print(exc, file=sys.stderr)
        return NO_RESULT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
