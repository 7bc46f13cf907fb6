"""Steps from one shape of the tables to the next; Alembic runs them. Each is frozen: it imports no tables."""
