"""The folder of a benchmark's results; every sample is kept as soon as it is there.

samples.jsonl   first line: plan and host; then one line per sample
results.json    everything, written at the end (results.schema.json)
fortio/         one file per sample in Fortio's format: `fortio report -data-dir` draws them
*.png, report.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from istio_kit.bench.sample import Sample
from istio_kit.errors import InputError

_SAMPLES = "samples.jsonl"


class Store:
    """The folder, open for further samples."""

    def __init__(self, folder: Path, header: dict[str, Any], *, resume: bool) -> None:
        """Open the folder; it is made if it is missing.

        Args:
            folder: where results go.
            header: plan and host; samples of another header are not mixed with ours.
            resume: take up what the folder holds; else it has to be empty.

        Raises:
            InputError: the folder holds something else.
        """
        self.folder = folder
        self.samples: list[Sample] = []
        self._path = folder / _SAMPLES
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; name a folder with --output-dir")
        if self._path.exists():
            self._take_up(header, resume=resume)
            return
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder}: holds other files; name an empty or a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(header) + "\n")

    def add(self, sample: Sample, raw: dict[str, Any]) -> None:
        """Keep a sample, and the same run in Fortio's format."""
        self.samples.append(sample)
        with self._path.open("a") as stream:
            stream.write(json.dumps(_fields(sample)) + "\n")
        self.write(f"fortio/{sample.case}-{sample.repetition}-{sample.variant}.json", raw)

    def write(self, name: str, data: dict[str, Any]) -> Path:
        """Write a JSON file whole or not at all; return its path."""
        return self.write_text(name, json.dumps(data, indent=1) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file whole or not at all; return its path."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        try:
            fresh.write_text(text)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        return path

    def discard_if_empty(self) -> None:
        """Remove a folder that got no sample: an interrupted run leaves nothing useless behind."""
        if not self.samples:
            self._path.unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _take_up(self, header: dict[str, Any], *, resume: bool) -> None:
        if not resume:
            raise InputError(
                f"{self.folder}: holds results already; continue with --resume, or name another "
                "folder with --output-dir"
            )
        lines = self._path.read_text().splitlines(keepends=True)
        if not lines or _parse(lines[0]) != json.loads(json.dumps(header)):
            raise InputError(
                f"{self._path}: the results there are of other options, another host or other "
                "versions; name another folder with --output-dir"
            )
        # A line without its end was cut off by whatever ended that run.
        whole = [line for line in lines if line.endswith("\n")]
        try:
            self.samples = [Sample.from_dict(json.loads(line)) for line in whole[1:]]
        except (ValueError, TypeError) as error:
            raise InputError(f"{self._path}: not a file of samples: {error}") from error
        self._path.write_text("".join(whole))


def _parse(line: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(line)
    except ValueError:
        return None


def _fields(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in Sample.__dataclass_fields__}


def as_dicts(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return samples as JSON data."""
    return [_fields(sample) for sample in samples]
