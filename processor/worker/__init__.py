"""The processor process (`processor run`): its parts, their supervision, and what the operators' page reads and does through it."""
