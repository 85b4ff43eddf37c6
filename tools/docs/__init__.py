"""Generators of docs/configuration.md and docs/metrics.md (`make docs`)."""
