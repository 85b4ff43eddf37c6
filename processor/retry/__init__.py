"""When to try again. Pure: the stream waits, the engine asks."""
