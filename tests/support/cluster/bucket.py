"""An S3 server in a machine room, and a program that copies folders to it and from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from support.cluster.room import DRIVER_ADDRESS, Room

ENDPOINT = f"http://{DRIVER_ADDRESS}:5000"
NAME = "shop"

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# As a user of Spark hands them to the executors.
OPTIONS = [f"--conf spark.executorEnv.{name}={value}" for name, value in CREDENTIALS.items()]


@dataclass(frozen=True)
class Bucket:
    """The bucket, which is in the memory of its server, and nowhere on a disk."""

    room: Room
    logs: Path

    @contextmanager
    def running(self) -> Iterator[Bucket]:
        """Run the server, with an empty bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", DRIVER_ADDRESS, "-p", "5000"]
        server = self.room.start(command, self.logs / "bucket.log")
        try:
            server.until("Running on")
            yield self
        finally:
            server.kill()

    def upload(self, folder: Path, name: str) -> None:
        """Copy all files of a folder below a name."""
        self._copy(str(folder), f"s3:{NAME}/{name}")

    def download(self, name: str, folder: Path) -> None:
        """Copy all objects below a name into a folder."""
        self._copy(f"s3:{NAME}/{name}", str(folder))

    def _copy(self, source: str, target: str) -> None:
        variables = {**CREDENTIALS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", __name__, source, target]
        copying = self.room.start(command, self.logs / "copy.log", variables)
        assert copying.process.wait(timeout=300) == 0, copying.said()


def _opened(place: str) -> tuple[fs.FileSystem, str]:
    if not place.startswith("s3:"):
        return fs.LocalFileSystem(), place
    store = fs.S3FileSystem(endpoint_override=ENDPOINT, region="us-east-1", allow_bucket_creation=True)
    store.create_dir(NAME)
    return store, place.removeprefix("s3:")


if __name__ == "__main__":
    (_from, _source), (_to, _target) = (_opened(place) for place in sys.argv[1:])
    fs.copy_files(_source, _target, _from, _to)
