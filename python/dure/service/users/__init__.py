"""People and tenants, for their administrators."""
