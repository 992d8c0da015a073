"""Multipart uploads of small files, and how they are dropped.

An object store has parts of 5 MiB and more, and the nights of the catalogue have smaller files. So the proxy takes the
parts itself and puts the whole object.
"""

import hashlib
import threading
import uuid
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from botocore.exceptions import ClientError

from bench.faults.proxy import Answer, Fault, Request, Server

CHUNK = 2000
SMALL_PARTS = f"import s3fs.core; s3fs.core.calculate_chunksize = lambda *_, **__: {CHUNK}"
"""What a night does that is to upload in parts: every file beyond two of them."""
XML_TYPE = (("Content-Type", "application/xml"),)
XML = "<?xml version='1.0' encoding='UTF-8'?>"


def s3_error(status: int, code: str) -> Answer:
    """As S3 tells an error."""
    body = f"{XML}<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Answer(status=status, headers=XML_TYPE, body=body.encode())


class Uploads:
    """Multipart uploads before a store that has none for small files."""

    def __init__(self, server: Server, client: Any) -> None:
        self._server, self._client = server, client
        self._lock = threading.Lock()
        self.parts: dict[str, dict[int, bytes]] = {}

    def __call__(self, request: Request) -> Answer:
        """Answer a request."""
        address = urlsplit(request.path)
        asked = parse_qs(address.query, keep_blank_values=True)
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        if request.method == "POST" and "uploads" in asked:
            return self._create(bucket, key)
        if "uploadId" not in asked:
            return self._server(request)
        with self._lock:
            parts = self.parts.get(asked["uploadId"][0])
            if parts is None:
                return s3_error(404, "NoSuchUpload")
            if request.method == "PUT":
                parts[int(asked["partNumber"][0])] = request.body
                return Answer(status=200, headers=(("ETag", f'"{hashlib.md5(request.body).hexdigest()}"'),))
            del self.parts[asked["uploadId"][0]]
        if request.method == "DELETE":
            return Answer(status=204)
        return self._complete(bucket, key, parts, request)

    def _create(self, bucket: str, key: str) -> Answer:
        name = uuid.uuid4().hex
        with self._lock:
            self.parts[name] = {}
        return _told("InitiateMultipartUploadResult", bucket, key, f"<UploadId>{name}</UploadId>")

    def _complete(self, bucket: str, key: str, parts: dict[int, bytes], request: Request) -> Answer:
        once = {"IfNoneMatch": "*"} if any(name.lower() == "if-none-match" for name in request.headers) else {}
        body = b"".join(parts[number] for number in sorted(parts))
        try:
            done = self._client.put_object(Bucket=bucket, Key=key, Body=body, **once)
        except ClientError as error:
            said = error.response
            return s3_error(said["ResponseMetadata"]["HTTPStatusCode"], said["Error"]["Code"])
        return _told("CompleteMultipartUploadResult", bucket, key, f"<ETag>{done['ETag']}</ETag>")


def _told(name: str, bucket: str, key: str, more: str) -> Answer:
    body = f"{XML}<{name}><Bucket>{bucket}</Bucket><Key>{key}</Key>{more}</{name}>"
    return Answer(status=200, headers=XML_TYPE, body=body.encode())


def dropping(rng: np.random.Generator) -> Fault:
    """Uploads are dropped: the connection breaks, the upload is gone, its end fails or is told wrongly.

    Requests that are no part of an upload go through.
    """
    lock = threading.Lock()

    def fault(request: Request, server: Server) -> Answer | None:
        if "uploadId=" not in request.path:
            return server(request)
        with lock:
            way = int(rng.integers(4))
        if way == 0:
            return None
        if way == 1 and request.method != "DELETE":  # the store has ended the upload
            server(Request(method="DELETE", path=request.path, headers=request.headers, body=b""))
            return s3_error(404, "NoSuchUpload")
        if way == 2:  # an error with status 200: what S3 tells when completing fails after the answer has begun
            return s3_error(200 if request.method == "POST" else 500, "InternalError")
        server(request)
        return None

    return fault
