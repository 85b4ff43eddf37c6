"""What maintainers run beside the product."""
