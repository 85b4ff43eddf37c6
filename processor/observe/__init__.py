"""What operators see of a process: logs, metrics, health and traces."""
