"""The operators' page: what goes on, what waits, and repairs, on the monitoring port."""
