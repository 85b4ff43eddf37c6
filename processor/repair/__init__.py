"""Repairing: dead letters looked through, redriven or discarded; waiting retries released. Every act is a record of its own."""
