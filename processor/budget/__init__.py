"""Who may call when, over all replicas.

``permits`` is the interface, ``state`` decides (pure), ``shared`` acts, ``log`` is what it needs of Kafka.
"""
