"""Quality of raw frames without any model: motion, change, pictures, drift. Definitions: docs/quality.md."""
