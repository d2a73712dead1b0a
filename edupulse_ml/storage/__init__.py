"""PostgreSQL: records with their history, stored features, predictions and the audit trail. The home of psycopg."""
