"""A simulator of Didit's documented HTTP API: rate limits, billing, webhooks, faults, and a ledger of every call (docs/simulator.md).

It stands alone: it imports nothing else of ``processor``, and needs aiohttp and orjson only. ``python -m processor.simulator`` starts it.
"""
