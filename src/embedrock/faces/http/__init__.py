"""The gateway over HTTP: a raw ASGI application, and the server it runs in."""
