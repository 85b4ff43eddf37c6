"""Standalone checks: answered at once, without a user. Sources: Didit, the pages of "Standalone APIs"."""
