"""Runs Helm and `serin`, and reads YAML as strictly as the API server does."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

import certificates
from cases import CHART

HELM = os.environ["HELM"]
SERIN = Path(os.environ["SERIN"])


class StrictLoader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
    """Refuses a key that stands twice, which PyYAML would take silently."""

    def construct_mapping(self, node, deep=False):
        self.flatten_mapping(node)
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        doubles = sorted({key for key in keys if keys.count(key) > 1})
        if doubles:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {doubles}", node.start_mark)
        return super().construct_mapping(node, deep)


def documents(text: str) -> list[dict]:
    return [found for found in yaml.load_all(text, StrictLoader) if found]


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return " ".join(lines[-4:])


def run(*words: str) -> Ran:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return Ran(done.returncode, done.stdout, done.stderr)


def helm(verb: list[str], values: dict | Path, *flags: str) -> Ran:
    """Runs Helm on the chart with these values, which may be a file."""
    if isinstance(values, Path):
        return run(HELM, *verb, str(CHART), "-f", str(values), *flags)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return run(HELM, *verb, str(CHART), "-f", file.name, *flags)


def template(values: dict | Path, version: str = "1.37.0") -> Ran:
    return helm(["template", "try"], values, "--namespace", "models", "--kube-version", version)


def check_config(text: str, beside: list[str]) -> Ran:
    """`serin check` on a configuration with the files that the pod would put beside it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "serin.yaml")
        file.write_text(text)
        for name in beside:
            Path(folder, name).write_bytes(_content(name))
        return run(str(SERIN), "check", "-c", str(file))


def _content(name: str) -> bytes:
    """What the Secret would hold, by the kind of file."""
    if name.endswith(".crt"):
        return certificates.CERTIFICATE
    if name.endswith(".key"):
        return certificates.KEY
    return b"Authorization: Bearer a-token\n" if name == "otlp-headers" else b"a-secret\n"
