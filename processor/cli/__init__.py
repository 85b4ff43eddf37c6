"""Commands: each reads its options, calls one function of another room and prints. ``render_*`` turn values into text."""
