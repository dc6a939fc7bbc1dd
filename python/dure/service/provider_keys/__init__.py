"""Keys of the providers: sealed, added, drained and removed while calls go on."""
