"""The only code that talks to AWS: connections, signing, credentials, errors."""
