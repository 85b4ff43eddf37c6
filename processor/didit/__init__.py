"""What Didit is: its operations, its calls, its answers and what they mean. Only ``client`` does I/O."""
