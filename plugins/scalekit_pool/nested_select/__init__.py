"""Select columns of a table and its related tables by one query, as nested dictionaries."""
