"""Input pipelines that are timed against each other: each module's `Step` takes batches."""
