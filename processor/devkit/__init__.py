"""Everything on one machine: a real Kafka, the simulator, processors as child processes, and the demo."""
