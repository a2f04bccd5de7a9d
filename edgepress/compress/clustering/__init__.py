"""Weight clustering, two ways."""
