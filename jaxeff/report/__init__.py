"""What was published, and what is made of records."""
