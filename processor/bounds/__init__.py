"""What a process may hold or compute at once, so that no peer and no record takes all of it. Asked by whoever does the work."""
