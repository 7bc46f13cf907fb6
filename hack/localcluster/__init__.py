"""A real Kubernetes for development and tests: a control plane anywhere, one whole node where this machine allows it.

Run `PYTHONPATH=hack python -m localcluster --help`. Knows nothing of vidbench's own kinds, images or chart.
"""
