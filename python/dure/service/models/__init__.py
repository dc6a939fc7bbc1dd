"""The models of the catalogue, in the forms that callers know."""
