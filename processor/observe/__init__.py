"""What operators see: logs (metrics, tracing and the page come with a later issue)."""
