"""The audit of an installation from its topics: records in, findings out."""
