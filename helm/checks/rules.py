"""What must hold in every rendering, whatever the values: each rule returns what is wrong."""

from collections.abc import Iterator

WORKLOADS = ("Deployment", "StatefulSet")
KINDS = {
    "ConfigMap", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Secret", "Service",
    "ServiceAccount", "ServiceMonitor", "StatefulSet",
}


def of(docs: list[dict], *kinds: str) -> list[dict]:
    return [doc for doc in docs if doc["kind"] in kinds]


def workload(docs: list[dict]) -> dict:
    (only,) = of(docs, *WORKLOADS)
    return only


def pod(docs: list[dict]) -> dict:
    return workload(docs)["spec"]["template"]


def serin(docs: list[dict]) -> dict:
    spec = pod(docs)["spec"]
    (only,) = [c for c in spec.get("initContainers", []) + spec["containers"] if c["name"] == "serin"]
    return only


def config_text(docs: list[dict]) -> str:
    (only,) = of(docs, "ConfigMap")
    return only["data"]["serin.yaml"]


def beside(docs: list[dict]) -> list[str]:
    """The files beside serin.yaml, each as often as it is put there."""
    volume = next(v for v in pod(docs)["spec"]["volumes"] if v["name"] == "config")
    sources = [source for each in volume["projected"]["sources"] for source in each.values()]
    paths = [item["path"] for source in sources for item in source["items"]]
    return [path for path in paths if path != "serin.yaml"]


def matches(selector: dict, labels: dict) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def violations(docs: list[dict], config: dict) -> Iterator[str]:
    yield from _rights(docs)
    yield from _hardening(docs)
    yield from _reload(docs)
    yield from _files(docs, config)
    yield from _shutdown(docs, config)
    yield from _state(docs, config)
    yield from _reach(docs, config)
    yield from _selectors(docs)


def _rights(docs):
    for extra in {doc["kind"] for doc in docs} - KINDS:
        yield f"unexpected kind {extra}"
    for spec in [pod(docs)["spec"]] + [p["spec"] for p in of(docs, "Pod")] + of(docs, "ServiceAccount"):
        if spec.get("automountServiceAccountToken") is not False:
            yield "an API token is mounted"


def _hardening(docs):
    ours = [serin(docs)] + [c for p in of(docs, "Pod") for c in p["spec"]["containers"]]
    for container in ours:
        context = container["securityContext"]
        wanted = {
            "runAsNonRoot": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        }
        if not matches(wanted, context):
            yield f"container {container['name']} is not locked down: {context}"
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if serin(docs).get(name, {}).get("httpGet", {}).get("port") != "probe":
            yield f"{name} isn't on the probe listener"


def _reload(docs):
    annotations = pod(docs)["metadata"].get("annotations") or {}
    if any("checksum" in key for key in annotations):
        yield "a checksum restarts pods on every edit"
    for mount in serin(docs)["volumeMounts"]:
        if "subPath" in mount:
            yield "a subPath never sees the kubelet's swap"


def _files(docs, config):
    """What the configuration names is there, once, and nothing is there that it doesn't name."""
    there = beside(docs)
    if len(set(there)) < len(there):
        yield f"a file is there twice: {there}"
    named = list(_named(config))
    environment = {e["name"]: e.get("value") for e in serin(docs)["env"]}
    if "SERIN_ADMIN_CA" in environment:
        named.append(environment["SERIN_ADMIN_CA"].removeprefix("/etc/serin/"))
    if set(named) != set(there):
        yield f"named: {sorted(set(named))}, there: {sorted(there)}"
    for mount in serin(docs)["volumeMounts"]:
        if mount["name"] == "config" and mount.get("readOnly") is not True:
            yield "secrets are mounted to be written"
    if ("telemetry" in config) != ("OTEL_RESOURCE_ATTRIBUTES" in environment):
        yield "telemetry doesn't say which pod it is from, or there is none and it does"


def _named(config):
    backends = [backend for route in config["routes"] for backend in route["backends"].values()]
    for encrypted in [config["listen"], config["admin"], *backends]:
        if isinstance(encrypted, dict):
            yield from (file for key, file in encrypted.get("tls", {}).items() if key != "server_name")
    secrets = [(route, "salt_file") for route in config["routes"]]
    secrets += [(config["admin"], "token_file"), (config.get("telemetry", {}).get("otlp", {}), "headers_file")]
    yield from (place[key] for place, key in secrets if key in place)


def _shutdown(docs, config):
    spec = pod(docs)["spec"]
    drain = int(config["limits"]["drain"].removesuffix("s"))
    servers = [c for c in spec["containers"] if c["name"] != "serin"]
    sidecars = [c for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always"]
    waits = [c["lifecycle"]["preStop"] for c in spec["containers"] if "lifecycle" in c]
    slept = [w["sleep"]["seconds"] for w in waits if "sleep" in w]
    slept += [int(w["exec"]["command"][1]) for w in waits if w.get("exec", {}).get("command", [""])[0] == "sleep"]
    if spec["terminationGracePeriodSeconds"] <= drain + max(slept, default=0):
        yield "the grace period ends before the drain"
    if bool(servers) != (sidecars == [serin(docs)]):
        yield "beside model servers Serin must be the one native sidecar"


def _state(docs, config):
    kind = workload(docs)["kind"]
    claims = workload(docs)["spec"].get("volumeClaimTemplates", [])
    own = [v for v in pod(docs)["spec"]["volumes"] if v["name"] == "state"]
    persistent = kind == "StatefulSet" and [c["metadata"]["name"] for c in claims] == ["state"] and not own
    forgetful = kind == "Deployment" and not claims and own == [{"name": "state", "emptyDir": {}}]
    if not (persistent or forgetful):
        yield f"{kind} with claims {claims} and volumes {own}"
    mounts = {m["name"]: m["mountPath"] for m in serin(docs)["volumeMounts"]}
    if mounts["state"] != config["state"]:
        yield "the state folder isn't the volume"


def _reach(docs, config):
    """The admin port is open exactly when there is a token, and every port is the configured one."""
    ports = {p["name"]: p["containerPort"] for p in serin(docs)["ports"]}
    admin = config["admin"]
    listen = config["listen"]
    if isinstance(listen, str):
        listen = {"address": listen}
    client = "https" if "tls" in listen else "http"
    if isinstance(admin, str):
        if not admin.startswith("127.0.0.1:") or "admin" in ports:
            yield f"the admin API is in reach without a token: {admin}"
    elif "admin-token" not in beside(docs) or admin["token_file"] != "admin-token":
        yield "the admin token isn't mounted"
    asked = [e["value"] for e in serin(docs)["env"] if e["name"] == "SERIN_ADMIN"]
    asked += [a for p in of(docs, "Pod") for c in p["spec"]["containers"] for a in c["args"] if "--admin=" in a]
    encrypted = isinstance(admin, dict) and "tls" in admin
    if any(("https://" in where) != encrypted for where in asked):
        yield f"the admin API is asked at {asked}"
    address = {client: listen["address"], "probe": config["probe"]}
    address |= {} if isinstance(admin, str) else {"admin": admin["address"]}
    if {name: int(a.rsplit(":", 1)[1]) for name, a in address.items()} != ports:
        yield f"ports {ports} are not those of {address}"
    for service in of(docs, "Service"):
        for port in service["spec"]["ports"]:
            if ports.get(port["name"]) != port["targetPort"]:
                yield f"Service port {port['name']} leads nowhere"
    for policy in of(docs, "NetworkPolicy"):
        opened = {p["port"]: r.get("from") for r in policy["spec"]["ingress"] for p in r["ports"]}
        if (ports.get("admin", 0) in opened) != ("admin" in ports):
            yield "the policy and the admin API disagree"
        if any(opened.get(ports.get(name), [1]) in (None, []) for name in ("probe", "admin")):
            yield "probe or admin is open to everybody"
        peers = [peer["podSelector"]["matchLabels"] for peer in opened.get(ports.get("admin"), [])[:1]]
        tests = [test["metadata"]["labels"] for test in of(docs, "Pod")]
        if not all(matches(peer, test) for peer in peers for test in tests):
            yield "the test pod can't reach the admin port"


def _selectors(docs):
    labels = pod(docs)["metadata"]["labels"]
    tests = [p["metadata"]["labels"] for p in of(docs, "Pod")]
    selectors = [s["spec"]["selector"] for s in of(docs, "Service")]
    selectors += [s["spec"]["selector"]["matchLabels"] for s in of(docs, "PodDisruptionBudget", *WORKLOADS)]
    selectors += [s["spec"]["podSelector"]["matchLabels"] for s in of(docs, "NetworkPolicy")]
    for selector in selectors:
        if not matches(selector, labels) or any(matches(selector, test) for test in tests):
            yield f"{selector} doesn't select the pods and only them"
    for monitor in of(docs, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        named = [
            s for s in of(docs, "Service")
            if matches(selector, s["metadata"]["labels"])
            and monitor["spec"]["endpoints"][0]["port"] in [p["name"] for p in s["spec"]["ports"]]
        ]
        if len(named) != 1:
            yield f"the ServiceMonitor finds {len(named)} Services"
