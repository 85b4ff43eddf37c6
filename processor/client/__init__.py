"""For callers: ask and wait for answers. This room is public; every other one may change at any time."""

from processor.client.client import ClientClosedError, InvalidRequestError, ResultTimeoutError, VerificationClient, VerificationResult

__all__ = ["ClientClosedError", "InvalidRequestError", "ResultTimeoutError", "VerificationClient", "VerificationResult"]
