"""The artifact store: content-addressed folders, written atomically, checksummed. Safe on a folder that several hosts share (docs/cluster.md).

Layout under the root:
  store/<stage>/<key>/            finished artifacts, each with manifest.json
  work/<stage>-<key>.<token>/     a stage in progress; survives a kill, so that it can resume
  shared/<what>/                  files named by their content that serve stages of any key, e.g. a teacher's replies
  damaged/<stage>-<key>.<n>       what failed its checksum, set aside
  locks/<stage>-<key>.lease       names the process that computes the key and its token

No result depends on the lease. Who takes it renames the work folder to its own token, so that an earlier holder that still runs finds its folder
gone; and an artifact appears by one rename, so that of two writers the first one's stays, whole.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lore_lab.stages.lease import Lease
from lore_lab.tracking.folders import work_folder, work_folders

MANIFEST = "manifest.json"


class DamagedArtifactWarning(UserWarning):
    """An artifact did not match its manifest and was set aside."""


@dataclass(frozen=True)
class Artifact:
    """A finished, verified stage output."""

    stage: str
    key: str
    path: Path
    manifest: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(self.manifest["metrics"])


def write_json(path: Path, content: Any) -> None:
    """Write JSON, keys in the order of `content`, so that readers see the old file or the whole new one, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, default=str)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def damage(path: Path) -> str | None:
    """What is wrong with the artifact at `path`, or None."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"unreadable manifest ({error.__class__.__name__})"
    for name, recorded in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != recorded["size"]:
            return f"{name} has {file.stat().st_size} bytes, not {recorded['size']}"
        if checksum(file) != recorded["sha256"]:
            return f"{name} does not match its checksum"
    return None


class Store:
    """Artifacts by (stage, key) under one root folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._verified: dict[tuple[str, str], Artifact] = {}

    def path(self, stage: str, key: str) -> Path:
        return self.root / "store" / stage / key

    def work(self, stage: str, key: str) -> Path:
        return work_folder(self.root, stage, key)

    def take_work(self, stage: str, key: str, token: str) -> Path:
        """The work folder of the holder of the key's lease, with what the newest earlier attempt left. Fences off whoever had it before."""
        own = self.root / "work" / f"{stage}-{key}.{token}"
        earlier = work_folders(self.root, stage, key)
        for path in earlier[:-1]:
            shutil.rmtree(path, ignore_errors=True)
        for path in earlier[-1:]:
            path.rename(own)
        own.mkdir(parents=True, exist_ok=True)
        return own

    def lease(self, stage: str, key: str) -> Lease:
        """The right to compute a key."""
        path = self.root / "locks" / f"{stage}-{key}.lease"
        path.parent.mkdir(parents=True, exist_ok=True)
        return Lease(path)

    def exists(self, stage: str, key: str) -> bool:
        """Whether a finished artifact lies there; its bytes are not read (`find` does)."""
        return (stage, key) in self._verified or (self.path(stage, key) / MANIFEST).is_file()

    def find(self, stage: str, key: str) -> Artifact | None:
        """The verified artifact, or None. A damaged one is set aside with a warning, so that it is computed again."""
        if (stage, key) in self._verified:
            return self._verified[stage, key]
        path = self.path(stage, key)
        if not path.exists():
            return None
        problem = damage(path)
        if problem is not None:
            if not path.exists():
                return None  # another process set it aside first
            aside = self._set_aside(path, stage, key)
            warnings.warn(f"{path}: {problem}; set aside as {aside}, will be computed again", DamagedArtifactWarning, stacklevel=2)
            return None
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        artifact = Artifact(stage, key, path, manifest)
        self._verified[stage, key] = artifact
        return artifact

    def _set_aside(self, path: Path, stage: str, key: str) -> Path:
        folder = self.root / "damaged"
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while (target := folder / f"{stage}-{key}.{number}").exists():
            number += 1
        path.rename(target)
        return target

    def commit(self, stage: str, key: str, output: Path, manifest: dict[str, Any]) -> Artifact:
        """Turn the folder `output` into the artifact: checksums, manifest, fsync, one rename.

        Of two that compute a key at once the first one's artifact stays and is returned to both. Raises FileNotFoundError when `output` was taken
        away meanwhile.
        """
        files = sorted(file for file in output.rglob("*") if file.is_file() and file.name != MANIFEST)
        manifest = manifest | {
            "stage": stage,
            "key": key,
            "files": {str(file.relative_to(output)): {"sha256": checksum(file), "size": file.stat().st_size} for file in files},
        }
        for file in files:
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        write_json(output / MANIFEST, manifest)
        target = self.path(stage, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            output.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(output)
        return Artifact(stage, key, target, json.loads((target / MANIFEST).read_text(encoding="utf-8")))

    def all(self) -> Iterator[tuple[str, str, Path]]:
        """(stage, key, path) of every finished artifact, sorted; nothing is verified."""
        for path in sorted((self.root / "store").glob("*/*")):
            if path.is_dir():
                yield path.parent.name, path.name, path

    def discard(self, stage: str, key: str) -> None:
        """Remove an artifact: renamed out of the store first, so that no reader sees half of it."""
        doomed = self._set_aside(self.path(stage, key), stage, key)
        self._verified.pop((stage, key), None)
        shutil.rmtree(doomed)
