"""Uploads files by tuspy, each the way that its line says, and prints their addresses as JSON.

tus_upload.py ENDPOINT < lines of {"grant", "path", "name", "checksum", "chunk_bytes", "stop_at"}

With `stop_at`, an uploader stops there, and another one, which knows the address alone, goes on.
"""

import json
import sys

from tusclient.client import TusClient


def upload(endpoint: str, wish: dict) -> str:
    client = TusClient(endpoint, headers={"Authorization": f"Bearer {wish['grant']}"})
    way = {"chunk_size": wish["chunk_bytes"], "upload_checksum": wish["checksum"]}
    metadata = {"filename": wish["name"], "filetype": "application/octet-stream"}
    uploader = client.uploader(wish["path"], metadata=metadata, **way)
    if "stop_at" in wish:
        uploader.upload(stop_at=wish["stop_at"])
        uploader = client.uploader(wish["path"], url=uploader.url, **way)
        assert uploader.offset == wish["stop_at"], uploader.offset
    uploader.upload()
    return uploader.url


print(json.dumps([upload(sys.argv[1], json.loads(line)) for line in sys.stdin]))
