"""What lives in the account at the provider: whose it is, and files and batches themselves."""
