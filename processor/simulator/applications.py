"""Applications with their API keys, and the organizations that pay for their calls. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from processor.simulator.config import Config

LIVE_APPLICATION = "a0000000-0000-4000-8000-000000000001"
SANDBOX_APPLICATION = "a0000000-0000-4000-8000-000000000002"
ORGANIZATION = "00000000-0000-4000-8000-000000000001"


@dataclass(slots=True, eq=False)
class Organization:
    """A customer of Didit; it owns the credits."""

    uuid: str
    name: str
    credits: int
    topped_up: bool
    suspended: bool = False  # calls are rejected
    not_in_contract: frozenset[str] = frozenset()  # checks, by route name


@dataclass(slots=True, eq=False)
class Application:
    """The owner of API keys and sessions; live or a sandbox (Didit, "API keys", "Sandbox testing")."""

    uuid: str
    name: str
    client_id: str
    api_key: str
    sandbox: bool
    organization: Organization
    deleted: bool = False
    forbidden_routes: frozenset[str] = frozenset()  # its key lacks the right (Didit, "API keys")
    forbidden_workflows: frozenset[str] = frozenset()  # its key is limited to others

    @property
    def environment(self) -> str:
        """Its value in payloads."""
        return "sandbox" if self.sandbox else "live"

    @property
    def is_suspended(self) -> bool:
        """Whether what is billed is paused: never that of a sandbox (Didit, "API errors")."""
        return self.organization.suspended and not self.sandbox

    @property
    def can_pay(self) -> bool:
        """Whether it has credits, or needs none: sandboxes are free."""
        return self.sandbox or self.organization.credits > 0

    def charge(self, credit_count: int = 1) -> int:
        """Deduct credits, and return how many: none of a sandbox."""
        paid = 0 if self.sandbox else credit_count
        self.organization.credits -= paid
        return paid


class ApplicationDirectory:
    """All applications, by API key and by id. It starts with one organization that has a live and a sandbox application."""

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

    def by_key(self, api_key: str) -> Application | None:
        """The application that an API key belongs to."""
        return self._by_key.get(api_key)

    def get(self, uuid: str) -> Application | None:
        """An application by its id."""
        return self._by_id.get(uuid)

    def by_organization(self, uuid: str) -> list[Application]:
        """All applications of an organization, oldest first."""
        return [application for application in self._by_id.values() if application.organization.uuid == uuid]

    def add(self, application: Application) -> None:
        """Add an application with its API key."""
        self._by_id[application.uuid] = application
        self._by_key[application.api_key] = application

    def replace_live_keys(self, keys: Iterable[str]) -> int:
        """Replace all API keys of the first live application. Returns their number."""
        others = {key: application for key, application in self._by_key.items() if application is not self.live}
        new = {str(key): self.live for key in keys}
        self._by_key = others | new
        return len(new)
