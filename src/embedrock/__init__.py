"""OpenAI-compatible embeddings for the embedding models of AWS Bedrock."""

__version__ = "0.1.0"
