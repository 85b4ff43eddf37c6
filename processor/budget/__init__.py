"""Who may call when. ``permits`` is the interface; ``local`` serves one replica, the shared log of the next issue all of them."""
