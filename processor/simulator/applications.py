"""Who calls: applications with their keys, and the organizations that pay for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from processor.simulator.config import Config

LIVE_APPLICATION = "a0000000-0000-4000-8000-000000000001"
SANDBOX_APPLICATION = "a0000000-0000-4000-8000-000000000002"
ORGANIZATION = "00000000-0000-4000-8000-000000000001"


@dataclass(slots=True, eq=False)
class Organization:
    """A customer of Didit: it has the credits."""

    uuid: str
    name: str
    credits: int
    topped_up: bool
    suspended: bool = False  # the contract: nothing is done for it


@dataclass(slots=True, eq=False)
class Application:
    """Keys belong to an application; it is live or a sandbox (Didit, "API keys", "Sandbox testing")."""

    uuid: str
    name: str
    client_id: str
    api_key: str
    sandbox: bool
    organization: Organization

    @property
    def environment(self) -> str:
        """As payloads name it."""
        return "sandbox" if self.sandbox else "live"

    @property
    def paid(self) -> bool:
        """Whether a call can be paid for: sandboxes are free."""
        return self.sandbox or self.organization.credits > 0

    def pay(self, credit_count: int = 1) -> None:
        """Take credits for something that was done."""
        if not self.sandbox:
            self.organization.credits -= credit_count


class Directory:
    """All applications, by key and by id. Two exist from the start: one live, one sandbox, of one organization."""

    def __init__(self, config: Config) -> None:
        self.organization = Organization(ORGANIZATION, "Simulated Ltd", config.credits, config.topped_up)
        self.live = Application(
            LIVE_APPLICATION, "live", "sim-live", next(iter(config.api_keys), ""), sandbox=False, organization=self.organization
        )
        self.sandbox = Application(
            SANDBOX_APPLICATION, "sandbox", "sim-sandbox", next(iter(config.sandbox_keys), ""), sandbox=True, organization=self.organization
        )
        self._by_id = {application.uuid: application for application in (self.live, self.sandbox)}
        self._by_key = dict.fromkeys(config.api_keys, self.live) | dict.fromkeys(config.sandbox_keys, self.sandbox)

    def of_key(self, api_key: str) -> Application | None:
        """The application of a key."""
        return self._by_key.get(api_key)

    def get(self, uuid: str) -> Application | None:
        """An application by its id."""
        return self._by_id.get(uuid)

    def of_organization(self, uuid: str) -> list[Application]:
        """All applications of an organization, oldest first."""
        return [application for application in self._by_id.values() if application.organization.uuid == uuid]

    def add(self, application: Application) -> None:
        """A new application with a key of its own."""
        self._by_id[application.uuid] = application
        self._by_key[application.api_key] = application

    def accept(self, keys: Iterable[str]) -> int:
        """Rotate the keys of the first live application; how many it has now."""
        kept = {key: application for key, application in self._by_key.items() if application is not self.live}
        fresh = {str(key): self.live for key in keys}
        self._by_key = kept | fresh
        return len(fresh)
