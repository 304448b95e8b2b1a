"""One module per public dialect: bytes to what is asked, what was found to bytes. No I/O."""
