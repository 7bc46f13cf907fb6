"""The results store: the ledger of any number of clusters in SQLite or PostgreSQL. Knows no Kubernetes."""
