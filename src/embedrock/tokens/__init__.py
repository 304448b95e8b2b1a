"""Token ids of OpenAI's tokenizers back to text, without a network.

`decoder` decodes; `make` wrote the tables beside it from OpenAI's vocabularies. Their origin and licence: `NOTICE`.
"""

from embedrock.tokens.decoder import Encoding, EncodingName, UnknownToken, encoding

__all__ = ["Encoding", "EncodingName", "UnknownToken", "encoding"]
