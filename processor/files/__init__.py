"""Files that requests name instead of carrying them: found, checked and read just before a call."""
