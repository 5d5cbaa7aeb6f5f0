"""The retrieval models, by the names that ``--model`` takes."""
