"""Didit's webhooks: signatures, events, and the receiver that publishes them to the events topic (docs/webhooks.md)."""
