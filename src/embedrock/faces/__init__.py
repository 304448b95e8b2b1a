"""The ways in: HTTP and the command line. Thin: they decode, call and encode."""
