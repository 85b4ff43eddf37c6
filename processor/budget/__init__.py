"""Who may call when, over all replicas.

``permits`` is the interface, ``ask_states`` the life of an ask, ``state`` what the log says (both pure), ``shared`` acts, and
``log`` is what it needs of Kafka.
"""
