"""Webhook destinations and their deliveries. Pure but for the state given (Didit, "Webhook destinations", "Resend delivery")."""

from __future__ import annotations

from collections.abc import Callable

from processor.simulator.destinations import DESTINATIONS_MAX, Destination, Destinations, SentWebhook, destination_error
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.pages import page_response
from processor.simulator.timestamps import iso

_NOT_FOUND = ApiResponse(404, {"detail": "Webhook destination not found."})


def _ignore(_destination: Destination, _sent: SentWebhook) -> None:
    """What resends until it is set."""


class WebhookEndpoints:
    """The routes of webhook destinations."""

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        self.resend: Callable[[Destination, SentWebhook], None] = _ignore  # sends what was sent before once more

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "webhook.list": self._list,
            "webhook.create": self._create,
            "webhook.get": self._get,
            "webhook.update": self._update,
            "webhook.delete": self._delete,
            "webhook.deliveries": self._deliveries,
            "webhook.resend": self._resend,
        }

    def _list(self, request: ApiRequest) -> ApiResponse:
        return ApiResponse(200, [one.row() for one in self._destinations.of(request.caller.uuid)])

    def _create(self, request: ApiRequest) -> ApiResponse:
        """The answer holds the secret."""
        body, application = request.json_body, request.caller.uuid
        if (error := destination_error(body, self._destinations.of(application), complete=True)) is not None:
            return ApiResponse(400, error)
        if len(self._destinations) >= DESTINATIONS_MAX:
            return ApiResponse(500, {"detail": "The simulator holds as many destinations as it may."})
        return ApiResponse(201, self._destinations.add(application, body, request.now).detail(), acted=True)

    def _get(self, request: ApiRequest) -> ApiResponse:
        found = self._named(request)
        return ApiResponse(200, found.detail()) if found is not None else _NOT_FOUND

    def _update(self, request: ApiRequest) -> ApiResponse:
        found, body = self._named(request), request.json_body
        if found is None:
            return _NOT_FOUND
        others = [one for one in self._destinations.of(request.caller.uuid) if one is not found]
        if (error := destination_error(body, others, complete=False)) is not None:
            return ApiResponse(400, error)
        self._destinations.change(found, body, request.now)
        return ApiResponse(200, found.detail(), acted=True)

    def _delete(self, request: ApiRequest) -> ApiResponse:
        found = self._named(request)
        if found is None:
            return _NOT_FOUND
        self._destinations.remove(found)
        return ApiResponse(204, None, acted=True)

    def _deliveries(self, request: ApiRequest) -> ApiResponse:
        """Every attempt, the newest first."""
        found = self._named(request)
        if found is None:
            return _NOT_FOUND
        first, last = request.query.get("date_from", ""), request.query.get("date_to", "9999")
        chosen = [sent for sent in reversed(found.sent) if first <= iso(sent.at)[:10] <= last]
        return page_response(request, chosen, SentWebhook.row)

    def _resend(self, request: ApiRequest) -> ApiResponse:
        """Didit waits for the receiver's answer and gives its status; here the attempt is under way when this answers."""
        found = self._named(request)
        if found is None:
            return _NOT_FOUND
        sent = next((sent for sent in found.sent if sent.uuid == request.match["delivery"]), None)
        if sent is None:
            return ApiResponse(404, {"detail": "Webhook delivery not found."})
        self.resend(found, sent)
        again = SentWebhook(self._destinations.new_id(), sent.url, sent.body, request.now, None)
        return ApiResponse(200, again.row(), acted=True)

    def _named(self, request: ApiRequest) -> Destination | None:
        return self._destinations.get(request.caller.uuid, request.match["name"])
