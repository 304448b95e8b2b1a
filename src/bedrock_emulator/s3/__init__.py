"""An S3 beside Bedrock, on the same port: what models read and write, and what their callers upload.

Path style only. Whole objects are never in memory: they come from the wire into files and go from files to the wire.
Supported is what callers of Bedrock need; every other operation is answered with NotImplemented, as AWS words it.
"""
