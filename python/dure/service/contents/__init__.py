"""What was asked and answered, for organisations that want it kept: off, metadata or full."""
