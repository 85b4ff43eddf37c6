"""What crosses the topics: records and headers to bytes and back, and what a bad record is told."""
