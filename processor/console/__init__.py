"""The operators' page: what goes on, what waits, and repairs, on the port for those who watch."""
