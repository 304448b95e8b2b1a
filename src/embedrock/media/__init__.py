"""Media a caller sends as input: data URIs and S3 URIs, checked by their bytes and never decoded.

Pure: what is in S3 is fetched by others. What is not media of a known format, sound in form and of a sane size, is
refused with a BadRequest that names the parameter and never holds the content.
"""

from embedrock.media.data_uri import LongUri, Media, is_media, read_bytes, read_data_uri
from embedrock.media.formats import BY_EXTENSION, Kind
from embedrock.media.length import seconds as clip_seconds
from embedrock.media.s3_uri import S3Object, is_s3, of_mime, read_s3_uri

__all__ = [
    "BY_EXTENSION",
    "Kind",
    "LongUri",
    "Media",
    "S3Object",
    "clip_seconds",
    "is_media",
    "is_s3",
    "of_mime",
    "read_bytes",
    "read_data_uri",
    "read_s3_uri",
]
