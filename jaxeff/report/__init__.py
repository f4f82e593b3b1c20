"""Reports: what was published, beside what records measured."""
