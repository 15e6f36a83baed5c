"""The review page: a person looks at what was drawn, structure by structure, and their decisions are recorded."""
