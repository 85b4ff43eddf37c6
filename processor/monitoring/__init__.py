"""What goes on in all replicas together, read from Kafka alone: backlog, owners, budget, what waits, what is dead."""
