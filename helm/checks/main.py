"""The whole check of the chart: a row for each thing checked, a closing count, exit code 1 on any failure.

A row is a case (a set of values) and what was asked of it. Nothing here needs a cluster.
"""

import copy
import json
import sys
from pathlib import Path

import kubernetes_validate
import yaml

import rules
from cases import CASES, CHART, EXAMPLES, REFUSED, SERVERS, SIDECAR, rollout
from tools import SERIN, check_config, documents, helm, template

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
# Custom resources have no schema in Kubernetes itself; the operator's own would have to be fetched.
WITHOUT_SCHEMA = {"ServiceMonitor"}
# Levels of the values that the chart passes on without knowing their keys.
SERINS_OWN = {("config", "limits")}

passed = 0
failed = 0


def row(case: str, what: str, wrong: str | None, note: str = "") -> None:
    global passed, failed
    passed, failed = passed + (wrong is None), failed + (wrong is not None)
    end = f"  {note}" if note else ""
    print(f"{'ok  ' if wrong is None else 'FAIL'}  {case:<34}  {what:<26}{end}".rstrip())
    if wrong is not None:
        print(f"      {wrong}")


def first(problems) -> str | None:
    return "; ".join(list(problems)[:5]) or None


def schema_errors(docs: list[dict], version: str):
    for doc in docs:
        if doc["kind"] in WITHOUT_SCHEMA:
            continue
        try:
            kubernetes_validate.validate(doc, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(part) for part in error.path)
            yield f"{version} {doc['kind']} {where}: {error.message[:200]}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{version} {doc['kind']}: {error.message}"


def renders(name: str, values: dict | Path) -> None:
    """Everything that is asked of one set of values."""
    lint = helm(["lint", "--strict"], values)
    row(name, "helm lint --strict", None if lint.code == 0 else lint.last)

    errors, broken = [], []
    kinds: set[str] = set()
    for version in VERSIONS:
        rendered = template(values, f"{version}.0")
        if rendered.code:
            errors.append(f"{version}: {rendered.last}")
            continue
        try:
            docs = documents(rendered.out)
        except yaml.YAMLError as error:
            errors.append(f"{version}: {' '.join(str(error).split())}")
            continue
        kinds |= {doc["kind"] for doc in docs}
        errors += schema_errors(docs, version)
        config = yaml.safe_load(rules.config_text(docs))
        broken += [f"{version}: {wrong}" for wrong in rules.violations(docs, config)]
    skipped = ", ".join(sorted(kinds & WITHOUT_SCHEMA))
    note = f"(not {skipped}: a custom resource, its schema isn't Kubernetes' own)" if skipped else ""
    row(name, f"valid for {VERSIONS[0]} to {VERSIONS[-1]}", first(errors), note)
    row(name, "the chart's own rules", first(broken))

    if SERIN.is_file() and not errors:
        answer = check_config(rules.config_text(docs), rules.beside(docs))
        row(name, "serin check", None if answer.code == 0 else answer.last)


def refuses() -> None:
    """Wrong values are refused, and so is a typo at every level that the chart owns."""
    for name, (values, reason) in REFUSED.items():
        answer = template(values)
        row(name, "refused", complaint(answer, reason))
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path in strict_levels(schema):
        values = {"unknownKey": 1}
        for key in reversed(path):
            values = {key: values}
        answer = template({**SIDECAR, **values} if path[:1] != ["sidecar"] else values)
        row(".".join([*path, "unknownKey"]), "refused", complaint(answer, "unknownKey"))


def complaint(answer, reason: str) -> str | None:
    if answer.code == 0:
        return "accepted"
    return None if reason in answer.err else f"refused for another reason: {answer.last}"


def strict_levels(schema: dict, path: tuple = ()):
    """Every object with keys of its own: each has to refuse others, except where the keys are Serin's."""
    if "properties" in schema and path not in SERINS_OWN:
        yield list(path)
    for key, below in schema.get("properties", {}).items():
        if isinstance(below, dict):
            yield from strict_levels(below, (*path, key))


def edits_restart_nothing() -> None:
    """An edit of the routes, a rotated token and a rotated salt change a ConfigMap or a Secret and nothing else."""
    def traced(share: str) -> dict:
        return {"telemetry": {"endpoint": "http://collector:4317", "traceSample": share}}

    edits = {
        "another weight": ({}, rollout("20%")),
        "more traces": (traced("1%"), traced("5%")),
        "another token": ({"admin": {"token": "one"}}, {"admin": {"token": "two"}}),
        "another salt": ({"salt": {"value": "one"}}, {"salt": {"value": "two"}}),
    }
    for name, (before, after) in edits.items():
        base = {**SIDECAR, **rollout()}
        sides = [documents(template({**base, **side}).out) for side in (before, after)]
        changed = {a["kind"] for a, b in zip(*sides, strict=True) if a != b}
        wrong = None if changed and changed <= {"ConfigMap", "Secret"} else f"changed: {sorted(changed)}"
        row(name, "no pod restarts", wrong)


def values_survive() -> None:
    """Numbers and texts arrive in serin.yaml as they were written, with only the chart's keys added."""
    values = rollout()
    values["config"]["routes"][0]["salt_file"] = "/mnt/other"
    expected = copy.deepcopy(values["config"])
    got = yaml.safe_load(rules.config_text(documents(template({**values, "salt": {"value": "s"}}).out)))
    same = all(got[key] == expected[key] for key in ("workers", "routes"))
    same = same and got["limits"] == {**expected["limits"], "drain": "30s"}
    row("large numbers, texts like 1.10", "unchanged in serin.yaml", None if same else str(got))


def documented() -> None:
    """Every value stands in the schema and in the README's table."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    readme = (CHART / "README.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    missing = []
    for key, value in values.items():
        below = schema["properties"].get(key)
        if below is None:
            missing.append(f"{key} isn't in the schema")
            continue
        names = list(leaves(key, below))
        missing += [f"{name} isn't in the schema" for name in written(key, value, below) if name not in names]
        missing += [f"{name} isn't in the README" for name in names if f"`{name}`" not in readme]
    row("every value", "documented", first(missing))


def leaves(name: str, schema: dict):
    """Every value below, where the chart owns the keys."""
    if schema.get("additionalProperties") is not False or schema.get("type") != "object":
        yield name
        return
    for key, below in schema["properties"].items():
        yield from leaves(f"{name}.{key}", below)


def written(name: str, value, schema: dict):
    """The same of values.yaml."""
    if schema.get("additionalProperties") is not False or not isinstance(value, dict):
        yield name
        return
    for key, below in value.items():
        yield from written(f"{name}.{key}", below, schema["properties"].get(key, {}))


def snippets() -> list[dict]:
    """The values that the README shows."""
    blocks = (CHART / "README.md").read_text().split("```yaml\n")[1:]
    return [yaml.safe_load(block.split("```")[0]) for block in blocks]


def servers() -> None:
    """The model servers of the examples are plain manifests."""
    for file in SERVERS:
        docs = documents(file.read_text())
        errors = [e for version in VERSIONS for e in schema_errors(docs, version)]
        row(f"servers/{file.name}", f"valid for {VERSIONS[0]} to {VERSIONS[-1]}", first(errors))


def main() -> int:
    for name, values in CASES.items():
        renders(name, values)
    for file in EXAMPLES:
        renders(f"examples/{file.name}", file)
    for number, values in enumerate(snippets(), 1):
        renders(f"README, values {number}", values)
    servers()
    edits_restart_nothing()
    values_survive()
    documented()
    refuses()
    if not SERIN.is_file():
        print(f"\n!!! NOT CHECKED: no rendered configuration was proven, there is no binary at {SERIN}.")
        print("!!! Build it (`cargo build`) or name one with SERIN=…")
    print(f"\nhelm: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
