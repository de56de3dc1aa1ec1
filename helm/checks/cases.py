"""What is rendered: the defaults, each example, and each combination of toggles that changes a template."""

from pathlib import Path

CHART = Path("helm/serin")
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
SERVERS = sorted((CHART / "examples" / "servers").glob("*.yaml"))

SERVER = {"name": "model", "image": "model:1", "ports": [{"containerPort": 8000}]}
SIDECAR = {"mode": "sidecar", "sidecar": {"containers": [SERVER]}}
TOKEN = {"admin": {"token": "a-token"}}


def _arm(version: str) -> dict:
    return {"release": {"model": "m", "version": version}, "endpoints": [f"http://m{version}:8000"]}


def rollout(weight: str = "10%") -> dict:
    """A configuration with a rollout, and with values that a careless template would mangle."""
    backends = {"baseline": _arm("1.10"), "canary": _arm("1e3")}
    steps = [{"weight": weight, "min_samples": 10_000_000, "min_duration": "10m"}, {"weight": "100%"}]
    route = {"name": "m", "backends": backends, "rollout": {"steps": steps}}
    limits = {"max_connections": 1_000_000, "max_body": "1GiB"}
    return {"config": {"workers": "auto", "limits": limits, "routes": [route]}}


def encrypted() -> dict:
    """TLS to clients, to both arms, and of the admin API, with every authority and certificate of its own."""
    values = rollout()
    models = {"ca": "models.crt", "cert": "serin.crt", "key": "serin.key", "server_name": "models.example"}
    for version, backend in values["config"]["routes"][0]["backends"].items():
        backend["endpoints"] = [f"https://{version}.example:8443"]
        backend["tls"] = models
    return {
        **values,
        "tls": {"existingSecret": "front", "clientCA": {"existingSecret": "clients", "key": "root.pem"}},
        "admin": {"existingSecret": "admin", "tls": {"existingSecret": "admin-tls"}},
        "files": [
            {"configMap": "trust", "items": [{"key": "bundle.pem", "path": "models.crt"}]},
            {
                "secret": "own",
                "items": [{"key": "tls.crt", "path": "serin.crt"}, {"key": "tls.key", "path": "serin.key"}],
            },
        ],
    }


def _files(*paths: str) -> dict:
    return {"files": [{"secret": "a", "items": [{"key": "k", "path": path} for path in paths]}]}


COLLECTOR = {"telemetry": {"endpoint": "http://collector.observability:4317"}}
COLLECTOR_HTTP = {
    "telemetry": {
        "endpoint": "http://collector:4318/otlp",
        "protocol": "http",
        "headers": {"existingSecret": "collector", "key": "h"},
        "interval": "1m30s",
        "traceSample": "0.5%",
        "serviceName": "my router",
    }
}

EVERYTHING = {
    **SIDECAR,
    **encrypted(),
    **COLLECTOR_HTTP,
    "replicas": 3,
    "image": {"repository": "registry.example.com/serin", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "nameOverride": "router",
    "bindAddress": "[::]",
    "ports": {"http": 9000, "admin": 9001, "probe": 9002},
    "logLevel": "info,serin_proxy=debug",
    "salt": {"value": "pepper"},
    "state": {"persistent": True, "size": "2Gi", "storageClass": "fast"},
    "sidecar": {
        "containers": [SERVER, {"name": "own", "image": "own:1", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}],
        "initContainers": [{"name": "fetch", "image": "fetch:1"}],
        "volumes": [{"name": "models", "emptyDir": {}}],
    },
    "shutdown": {"delaySeconds": 5, "drainSeconds": 120},
    "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"a": "b"}},
    "serviceAccount": {"name": "router", "annotations": {"a": "b"}},
    "podDisruptionBudget": {"maxUnavailable": "25%"},
    "networkPolicy": {
        "clientFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "adminFrom": [{"podSelector": {"matchLabels": {"app": "ops"}}}],
        "extraIngress": [{"ports": [{"port": 8002}]}],
        "egress": [{"ports": [{"port": 8000}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "ml"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
}

CASES: dict[str, dict] = {
    "defaults": {},
    "sidecar": SIDECAR,
    "gateway, rollout": rollout(),
    "gateway, volume": {"state": {"persistent": True}, **rollout()},
    "sidecar, volume": {**SIDECAR, "state": {"persistent": True}},
    "admin token": {**TOKEN, **rollout()},
    "admin secret": {"admin": {"existingSecret": "admin", "key": "t.k"}, **rollout()},
    "salt": {"salt": {"value": "pepper"}, **rollout()},
    "salt secret": {"salt": {"existingSecret": "salts", "key": "mine"}, **rollout()},
    "token, salt, sidecar": {**SIDECAR, **TOKEN, "salt": {"value": "pepper"}, **rollout()},
    "TLS": {"tls": {"existingSecret": "front"}},
    "TLS, sidecar": {**SIDECAR, "tls": {"existingSecret": "front"}},
    "TLS, client certificates": {
        "tls": {"existingSecret": "front", "clientCA": {"existingSecret": "clients"}},
    },
    "TLS, another port": {"tls": {"existingSecret": "front"}, "service": {"port": 8443}},
    "TLS on all sides": encrypted(),
    "TLS, admin, IPv6": {**encrypted(), "bindAddress": "[::]"},
    "TLS, admin, public authority": {
        **rollout(),
        "admin": {"token": "t", "tls": {"existingSecret": "admin-tls", "caKey": ""}},
    },
    "TLS Secret in two places": {
        **rollout(),
        "tls": {"existingSecret": "one"},
        "admin": {"token": "t", "tls": {"existingSecret": "one"}},
    },
    "telemetry": COLLECTOR,
    "telemetry over HTTP, headers": COLLECTOR_HTTP,
    "telemetry's headers alone": {"telemetry": {"headers": {"existingSecret": "collector"}}},
    "telemetry, egress": {**COLLECTOR, "networkPolicy": {"egress": [{"ports": [{"port": 4317}]}]}},
    "IPv6": {"bindAddress": "[::]"},
    "IPv6, token": {"bindAddress": "[::]", **TOKEN},
    "nothing optional": {
        "serviceAccount": {"create": False},
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
    },
    "no delay": {"shutdown": {"delaySeconds": 0, "drainSeconds": 1}},
    "no delay, sidecar": {**SIDECAR, "shutdown": {"delaySeconds": 0}},
    "service monitor": {"serviceMonitor": {"enabled": True}},
    "closed probe": {"networkPolicy": {"monitoringFrom": []}},
    "no resources, no uid": {
        "resources": {"requests": None, "limits": None},
        "podSecurityContext": {"fsGroup": None},
        "securityContext": {"runAsUser": None, "runAsGroup": None},
    },
    "long name": {"fullnameOverride": "a" * 80},
    "everything": EVERYTHING,
}

# Values that must be refused, and a word of the reason.
REFUSED: dict[str, tuple[dict, str]] = {
    "unknown mode": ({"mode": "daemon"}, "mode"),
    "sidecar without a model server": ({"mode": "sidecar"}, "containers"),
    "model server in a gateway": ({"sidecar": {"containers": [SERVER]}}, "containers"),
    "model server without image": ({"mode": "sidecar", "sidecar": {"containers": [{"name": "m"}]}}, "image"),
    "drain in two places": ({"config": {"limits": {"drain": "5s"}}}, "drain"),
    "no routes": ({"config": {"routes": []}}, "routes"),
    "route without backends": ({"config": {"routes": [{"name": "m"}]}}, "backends"),
    "chart's key in config": ({"config": {"listen": "0.0.0.0:80"}}, "listen"),
    "replicas as text": ({"replicas": "2"}, "replicas"),
    "port out of range": ({"ports": {"http": 70000}}, "http"),
    "one port twice": ({"ports": {"http": 9911}}, "already"),
    "port of a model server": (
        {**SIDECAR, "ports": {"http": 8000}},
        "port 8000 of container model",
    ),
    "container called serin": (
        {"mode": "sidecar", "sidecar": {"containers": [{"name": "serin", "image": "x"}]}},
        "own container",
    ),
    "token and secret": ({"admin": {"token": "a", "existingSecret": "b"}}, "admin"),
    "salt and secret": ({"salt": {"value": "a", "existingSecret": "b"}}, "salt"),
    "token of two words": ({"admin": {"token": "a b"}}, "token"),
    "client CA without TLS": ({"tls": {"clientCA": {"existingSecret": "a"}}}, "tls.existingSecret"),
    "admin TLS without token": ({"admin": {"tls": {"existingSecret": "a"}}}, "without a token"),
    "file twice": (_files("a.crt", "a.crt"), "a.crt is taken"),
    "file over the chart's own": ({**TOKEN, **_files("admin-token")}, "admin-token is taken"),
    "file over serin.yaml": (_files("serin.yaml"), "serin.yaml is taken"),
    "file in another folder": (_files("../tls.crt"), "path"),
    "file from two sources": (
        {"files": [{"secret": "a", "configMap": "b", "items": [{"key": "k", "path": "p"}]}]},
        "files",
    ),
    "file with a typo": ({"files": [{"secret": "a", "item": []}]}, "item"),
    "authority that is nowhere": ({"config": encrypted()["config"]}, "no entry of `files`"),
    "collector over TLS": ({"telemetry": {"endpoint": "https://collector:4317"}}, "endpoint"),
    "share of traces without unit": ({"telemetry": {"endpoint": "http://c:1", "traceSample": "5"}}, "traceSample"),
    "unknown protocol": ({"telemetry": {"protocol": "zipkin"}}, "protocol"),
    "drain with a unit": ({"shutdown": {"drainSeconds": "30s"}}, "drainSeconds"),
    "digest without algorithm": ({"image": {"digest": "0" * 64}}, "digest"),
    "budget of nothing": ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    "annotation that is a number": ({"podAnnotations": {"a": 1}}, "podAnnotations"),
    "peer with a typo": ({"networkPolicy": {"adminFrom": [{"podSelectors": {}}]}}, "podSelectors"),
}
