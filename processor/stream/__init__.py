"""Kafka: a lane for each owned input partition, its ledger, its transactions, and the topics. Knows nothing of Didit."""
