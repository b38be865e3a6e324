"""All SQL of the broker: tables, queries with names, the one writer, migrations. Rows never leave this package."""
