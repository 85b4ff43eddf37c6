"""Standalone checks: what the desk says, billed in the ledger and kept as a session. Pure but for the state it is given."""

from __future__ import annotations

from processor.simulator.checks.model import Checked
from processor.simulator.checks.service import CHECKS, Desk
from processor.simulator.ledger import Ledger
from processor.simulator.messages import Asked, Handler, Told
from processor.simulator.sessions import Sessions
from processor.simulator.validation import SUSPENDED

_CODE_ROUTES = ("email.send", "email.check", "phone.send", "phone.check")


class CheckEndpoints:
    """The routes of standalone checks."""

    def __init__(self, sessions: Sessions, desk: Desk, ledger: Ledger) -> None:
        self.desk = desk
        self._sessions, self._ledger = sessions, ledger

    def handlers(self) -> dict[str, Handler]:
        """By route."""
        return {name: self._handler(name) for name in (*CHECKS, *_CODE_ROUTES)}

    def begin(self, asked: Asked) -> Told | None:
        """An admitted call begins; an answer if it is not to be made."""
        found = self.desk.begin_keyed(asked.key, asked.idempotency_key, asked.body)
        return _told(found) if found is not None else None

    def end(self, asked: Asked) -> None:
        """A call that has begun is over, whatever became of it."""
        self.desk.end_keyed(asked.key, asked.idempotency_key)

    def _handler(self, name: str) -> Handler:
        def handle(asked: Asked) -> Told:
            caller = asked.caller
            if caller.organization.suspended:
                return Told(403, SUSPENDED)
            found = self.desk.run(name, caller, asked.body, asked.now)
            if not found.acted:
                return _told(found)
            self.desk.keep(asked.key, asked.idempotency_key, found.body)
            paid = 0 if caller.sandbox else found.credit_count
            caller.pay(paid)
            entry = {
                "operation": name,
                "at": asked.now,
                "reference": asked.reference,
                "key": asked.key,
                "request_id": found.body["request_id"],
            }
            self._ledger.checked({**entry, "credits": paid, "environment": caller.environment})
            told = _told(found)
            if found.stored is not None and not caller.sandbox:
                told.session_id = self._sessions.store_check(caller, found.stored, found.body, asked.now).session_id
            return told

        return handle


def _told(found: Checked) -> Told:
    headers = {"Retry-After": str(found.retry_after_s)} if found.retry_after_s is not None else None
    return Told(found.status, found.body, acted=found.acted, headers=headers)
