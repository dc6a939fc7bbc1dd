"""The audit log, to be read and to be checked."""
