"""Standalone checks: one call, one result, no user. Sources: Didit, the pages of "Standalone APIs"."""
