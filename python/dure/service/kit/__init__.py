"""What all rooms of the service use: ASGI frame, bodies, server-sent events, offline API pages."""
