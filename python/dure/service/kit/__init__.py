"""What every room of the service uses: the ASGI frame, server-sent events, offline API pages."""
