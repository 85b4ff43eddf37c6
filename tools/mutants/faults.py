"""All planted faults."""

from __future__ import annotations

from tools.mutants import budget, engine, journal, stream

FAULTS = (*budget.FAULTS, *journal.FAULTS, *stream.FAULTS, *engine.FAULTS)
