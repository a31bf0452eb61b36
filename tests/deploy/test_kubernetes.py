"""The manifests: what Kubernetes accepts, and what the parts promise to each other and to the service."""

from itertools import pairwise
from typing import Any

import kubernetes_validate
import pytest

from app.errors import ConfigurationError
from app.gateway import gateway
from app.server import server
from app.settings import Settings
from tests.deploy.documents import (
    DEPLOY,
    REAL_SECRETS,
    SETTINGS,
    Document,
    check,
    http_paths,
    read_yaml,
    settings_of,
)

VERSIONS = ("1.30", "1.35", "1.36", "1.37")  # the oldest that README.md names, and the newest
NOT_APPLIED = {"kustomization.yaml", "secret.example.yaml"}
LARGEST_TIME_TO_END_S = 30
UID = 10001

MANIFESTS = sorted(path.name for path in (DEPLOY / "k8s").glob("*.yaml"))
RESOURCES = [name for name in MANIFESTS if name != "kustomization.yaml"]
WORKLOADS = ["deployment.yaml", "migrate-job.yaml"]


def manifest(name: str) -> Document:
    return read_yaml(f"k8s/{name}")


def pod_of(name: str) -> Document:
    """The pod template of a workload."""
    template = manifest(name)["spec"]["template"]
    assert isinstance(template, dict)
    return template


def container_of(name: str) -> Document:
    (container,) = pod_of(name)["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def labels_of(document: Document) -> dict[str, str]:
    labels: dict[str, str] = document["metadata"]["labels"]
    return labels


# Every manifest


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RESOURCES)
def test_every_version_accepts_the_manifest(name: str, version: str) -> None:
    assert kubernetes_validate.validate(manifest(name), version, strict=True) == version


def test_kustomize_applies_everything_but_the_example_of_a_secret() -> None:
    assert set(manifest("kustomization.yaml")["resources"]) == set(MANIFESTS) - NOT_APPLIED


@pytest.mark.parametrize("name", RESOURCES)
def test_a_manifest_names_no_namespace_and_the_application(name: str) -> None:
    metadata = manifest(name)["metadata"]

    assert "namespace" not in metadata
    assert metadata["labels"]["app.kubernetes.io/name"] == "stomp-notify"


def test_nodes_and_migration_are_the_image_that_kustomize_puts_in() -> None:
    (image,) = manifest("kustomization.yaml")["images"]

    assert {container_of(name)["image"] for name in WORKLOADS} == {image["name"]}
    assert image["newTag"] != "latest"


# Selectors, ports and names


def test_selectors_find_the_nodes_and_not_the_migration() -> None:
    deployment = manifest("deployment.yaml")["spec"]
    selectors = [
        deployment["selector"]["matchLabels"],
        manifest("service.yaml")["spec"]["selector"],
        manifest("pdb.yaml")["spec"]["selector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in spreads()),
    ]
    node, migration = (labels_of(pod_of(name)) for name in WORKLOADS)

    for selector in selectors:
        assert selector.items() <= node.items()
        assert not selector.items() <= migration.items()


def test_the_autoscaler_scales_the_deployment() -> None:
    deployment = manifest("deployment.yaml")
    target = manifest("hpa.yaml")["spec"]["scaleTargetRef"]

    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }


def test_ports_are_the_same_from_ingress_to_service() -> None:
    (container_port,) = container_of("deployment.yaml")["ports"]
    service = manifest("service.yaml")
    (service_port,) = service["spec"]["ports"]

    assert container_port["containerPort"] == int(manifest("configmap.yaml")["data"]["PORT"])
    assert service_port["targetPort"] == container_port["name"]
    assert {probe["httpGet"]["port"] for probe in probes().values()} == {container_port["name"]}
    for path in ingress_paths():
        assert path["backend"]["service"] == {
            "name": service["metadata"]["name"],
            "port": {"name": service_port["name"]},
        }


def test_what_is_referred_to_is_there() -> None:
    names = {kind: manifest(f"{kind}.yaml")["metadata"]["name"] for kind in ("configmap", "secret.example")}
    secrets = manifest("secret.example.yaml")["stringData"]

    assert container_of("deployment.yaml")["envFrom"] == [
        {"configMapRef": {"name": names["configmap"]}},
        {"secretRef": {"name": names["secret.example"]}},
    ]
    for workload in WORKLOADS:
        for reference in secret_references(workload):
            assert reference["name"] == names["secret.example"]
            assert reference["key"] in secrets


def test_volumes_are_mounted_where_the_image_works() -> None:
    (volume,) = pod_of("deployment.yaml")["spec"]["volumes"]
    (mount,) = container_of("deployment.yaml")["volumeMounts"]
    dockerfile = (DEPLOY.parent / "Dockerfile").read_text()

    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/data")
    assert "emptyDir" in volume
    assert f"WORKDIR {mount['mountPath']}\n" in dockerfile


# Settings


def test_every_name_is_a_setting() -> None:
    names = {
        *manifest("configmap.yaml")["data"],
        *manifest("secret.example.yaml")["stringData"],
        *(variable["name"] for workload in WORKLOADS for variable in container_of(workload)["env"]),
    }

    assert names <= SETTINGS


def test_the_service_starts_with_these_settings_and_real_secrets() -> None:
    settings = settings_of(environment() | {name: REAL_SECRETS[name] for name in ("JWT_SECRET", "API_KEYS")})

    check(settings)
    assert settings.app_env == "prod"
    assert settings.host == "0.0.0.0"  # or no probe reaches it
    assert settings.log_format == "json"


def test_the_service_refuses_to_start_with_the_secrets_of_the_example() -> None:
    with pytest.raises(ConfigurationError, match="JWT_SECRET"):
        check(settings_of(environment()))


def test_secrets_are_in_the_secret() -> None:
    secret = {"JWT_SECRET", "API_KEYS", "DATABASE_URL", "REDIS_URL"}

    assert set(manifest("secret.example.yaml")["stringData"]) == secret
    assert secret.isdisjoint(manifest("configmap.yaml")["data"])
    assert all("replace-me" in value for value in manifest("secret.example.yaml")["stringData"].values())


def test_a_node_does_not_start_without_what_nodes_share() -> None:
    """As a service of its own it would accept messages and lose them with its volume."""
    required = {reference["key"] for reference in secret_references("deployment.yaml")}

    assert required == {"DATABASE_URL", "REDIS_URL"}
    assert not any(reference.get("optional") for reference in secret_references("deployment.yaml"))


def test_a_node_is_called_as_its_pod() -> None:
    variables = {variable["name"]: variable for variable in container_of("deployment.yaml")["env"]}

    assert variables["NODE_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    pod = f"{manifest('deployment.yaml')['metadata']['name']}-7c9f8d5b64-x2x9z"
    assert settings_of({"NODE_NAME": pod}).node_name == pod  # there is a longest name


# The life of a node


def test_probes_ask_what_the_service_answers() -> None:
    paths = {kind: probe["httpGet"]["path"] for kind, probe in probes().items()}

    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert set(paths.values()) <= http_paths()


def test_a_node_has_the_time_that_it_takes_to_end() -> None:
    pod = pod_of("deployment.yaml")["spec"]
    pre_stop_s = container_of("deployment.yaml")["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert gateway.DRAIN_S + server.DRAIN_S <= LARGEST_TIME_TO_END_S
    assert pod["terminationGracePeriodSeconds"] > pre_stop_s + LARGEST_TIME_TO_END_S


def test_a_node_that_ends_is_out_of_the_service_before_it_stops_listening() -> None:
    assert container_of("deployment.yaml")["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


def test_an_update_takes_no_node_before_its_successor_is_ready() -> None:
    strategy = manifest("deployment.yaml")["spec"]["strategy"]

    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_there_are_two_nodes_and_an_apply_does_not_undo_the_autoscaler() -> None:
    assert "replicas" not in manifest("deployment.yaml")["spec"]
    assert manifest("hpa.yaml")["spec"]["minReplicas"] >= 2


def test_nodes_are_spread_over_zones_and_machines() -> None:
    keys = [spread["topologyKey"] for spread in spreads()]

    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_scaling_down_is_slow() -> None:
    behavior = manifest("hpa.yaml")["spec"]["behavior"]

    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 600
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]


def test_the_autoscaler_has_a_request_to_compare_with() -> None:
    (metric,) = manifest("hpa.yaml")["spec"]["metrics"]

    assert metric["resource"]["name"] in container_of("deployment.yaml")["resources"]["requests"]


def test_machines_are_emptied_one_node_at_a_time() -> None:
    assert manifest("pdb.yaml")["spec"]["maxUnavailable"] == 1


def test_a_node_has_no_limit_of_cpu_but_of_memory() -> None:
    assert set(container_of("deployment.yaml")["resources"]["limits"]) == {"memory"}


# Safety


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_pod_may_do_no_more_than_it_has_to(name: str) -> None:
    pod, container = pod_of(name)["spec"], container_of(name)

    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # they would be variables that nobody chose
    assert (
        pod["securityContext"].items()
        >= {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        }.items()
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_user_is_that_of_the_image() -> None:
    assert f"USER {UID}\n" in (DEPLOY.parent / "Dockerfile").read_text()


def test_the_migration_runs_the_command_of_the_service_once() -> None:
    job = manifest("migrate-job.yaml")["spec"]

    assert container_of("migrate-job.yaml")["args"] == ["migrate"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # or its log would go with it


# The way in


def test_the_ingress_lets_websockets_be_and_posts_be_sent_once() -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    annotations = {
        name.removeprefix(prefix): value
        for name, value in manifest("ingress.yaml")["metadata"]["annotations"].items()
        if name.startswith(prefix)
    }

    assert annotations["proxy-read-timeout"] == annotations["proxy-send-timeout"] == "3600"
    assert annotations["proxy-buffering"] == "off"
    assert set(annotations["proxy-next-upstream"].split()) == {"error", "timeout"}
    assert annotations["proxy-body-size"] == f"{Settings.model_fields['http_max_body_bytes'].default // 1024}k"


def test_the_ingress_leads_to_what_clients_and_back_ends_need_and_to_nothing_else() -> None:
    prefixes = [path["path"] for path in ingress_paths()]
    known = {*http_paths(), "/stomp-ws", "/static/notify-client.js"}
    outside = {path for path in known if any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)}

    assert {path["pathType"] for path in ingress_paths()} == {"Prefix"}
    assert known - outside == {"/healthz", "/readyz"} | ({"/metrics"} & known)


def test_the_ingress_serves_the_hosts_of_its_certificate() -> None:
    spec = manifest("ingress.yaml")["spec"]

    assert [rule["host"] for rule in spec["rules"]] == [host for tls in spec["tls"] for host in tls["hosts"]]


# README.md


def test_the_schema_is_migrated_before_the_nodes_start() -> None:
    """The commands, in this order."""
    text = (DEPLOY / "README.md").read_text()
    component = labels_of(manifest("migrate-job.yaml"))["app.kubernetes.io/component"]
    steps = [
        "kubectl apply -f deploy/k8s/secret.yaml\n",
        f"kubectl apply -k deploy/k8s -l app.kubernetes.io/component={component}\n",
        f"job/{manifest('migrate-job.yaml')['metadata']['name']}\n",
        "kubectl apply -k deploy/k8s\n",
    ]

    assert all(text.index(step) < text.index(following) for step, following in pairwise(steps))


def environment() -> dict[str, str]:
    """What a node gets of ConfigMap and Secret."""
    config: dict[str, str] = manifest("configmap.yaml")["data"]
    secrets: dict[str, str] = manifest("secret.example.yaml")["stringData"]
    return config | secrets


def probes() -> dict[str, Any]:
    container = container_of("deployment.yaml")
    return {kind: container[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}


def spreads() -> list[Document]:
    constraints: list[Document] = pod_of("deployment.yaml")["spec"]["topologySpreadConstraints"]
    return constraints


def secret_references(workload: str) -> list[Document]:
    sources = [variable.get("valueFrom", {}) for variable in container_of(workload)["env"]]
    return [source["secretKeyRef"] for source in sources if "secretKeyRef" in source]


def ingress_paths() -> list[Document]:
    (rule,) = manifest("ingress.yaml")["spec"]["rules"]
    paths: list[Document] = rule["http"]["paths"]
    return paths
