"""Who spent what: rows of calls and their sums, taken over from the ledger."""
