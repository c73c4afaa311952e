"""A control plane of Kubernetes, etcd and kube-apiserver, and what the tests' API server stands for on a real one.

    python -m tests.discovery.kubernetes.cluster ETCD KUBE_APISERVER

creates the generated manifests, then watches EndpointSlices with the token of their service account: slices change,
the API server is killed, permissions go. No part of `make test`: building the two programs takes minutes.
docs/kubernetes.md says how.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Callable, Mapping
from http.client import HTTPSConnection
from pathlib import Path
from time import monotonic
from typing import Any

from scalekit import Unavailable
from scalekit.contracts import Services
from scalekit.deploy import ServiceDescription
from scalekit.deploy.inspection import describe_service
from tests.discovery.harness import open_services, wait_instances
from tests.host.deploy.kubernetes.documents import CUSTOM, QUEUE_WORKER, SAMPLES, objects, sample
from tests.processes import HOST
from tests.servers import Server

ADMIN = "token-of-the-administrator"
SHOP = "shop"
PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}
TOKEN_SECONDS = 600


class Etcd(Server):
    """The store of the control plane."""

    name = "etcd"
    port_count = 2

    def __init__(self, program: str) -> None:
        self.program = program

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def command(self) -> list[object]:
        peer = f"http://{HOST}:{self.ports[1]}"
        clients = ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        peers = [
            "--listen-peer-urls",
            peer,
            "--initial-advertise-peer-urls",
            peer,
            "--initial-cluster",
            f"default={peer}",
        ]
        return [self.program, "--data-dir", self.box.directory / "data", *clients, *peers]


class KubeApiServer(Server):
    """An API server with the role-based access control of every cluster, and one administrator."""

    name = "kube-apiserver"

    def __init__(self, program: str, etcd: Etcd) -> None:
        self.program = program
        self.etcd = etcd

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.box.directory / "certificates" / "apiserver.crt"

    def prepare(self) -> None:
        self.box.run("openssl", "genrsa", "-out", "key.pem", "2048")
        self.box.write("tokens.csv", f"{ADMIN},admin,admin,system:masters\n")

    def command(self) -> list[object]:
        key = self.box.directory / "key.pem"
        account = ["--service-account-key-file", key, "--service-account-signing-key-file", key]
        return [
            self.program,
            *("--etcd-servers", self.etcd.url),
            *("--bind-address", HOST, "--secure-port", self.port, "--cert-dir", self.box.directory / "certificates"),
            *("--token-auth-file", self.box.directory / "tokens.csv", "--authorization-mode", "RBAC"),
            *(*account, "--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-cluster-ip-range", "10.0.0.0/24", "--endpoint-reconciler-type", "none"),
        ]

    def is_ready(self) -> bool:
        self.call("GET", "/readyz")
        return True

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the response of a request of the administrator; raise OSError with the reason of a refusal."""
        context = ssl.create_default_context(cafile=self.ca_file)
        connection = HTTPSConnection(HOST, self.port, timeout=60, context=context)
        try:
            headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status >= 400:
            raise OSError(f"{method} {path}: {response.status} {text}")
        return json.loads(text) if text.startswith("{") else text

    def create(self, found: Mapping[str, Any]) -> None:
        """Create an object, with unknown and duplicate fields as errors."""
        self.call("POST", f"{_collection(found)}?fieldValidation=Strict", found)


def _collection(found: Mapping[str, Any]) -> str:
    version, kind = found["apiVersion"], found["kind"]
    prefix = "/api/v1" if version == "v1" else f"/apis/{version}"
    plural = PLURALS.get(kind, f"{kind.lower()}s")
    return f"{prefix}/namespaces/{found['metadata']['namespace']}/{plural}"


def endpoint_slice(name: str, *addresses: str) -> dict[str, Any]:
    """Return a slice of the service ``inventory``."""
    labels = {"kubernetes.io/service-name": "inventory"}
    endpoints = [{"addresses": [each], "conditions": {"ready": True}, "zone": "a"} for each in addresses]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": SHOP, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def apply_manifests(server: KubeApiServer, folder: Path) -> int:
    """Create the objects of the sample's files and of a service with consumers; return how many there are."""
    (folder / "scalekit.toml").write_text(QUEUE_WORKER)
    count = 0
    services: list[ServiceDescription] = [describe_service("scalekit.toml", (), "scalekit deploy", folder)]
    services += [sample(name) for name in SAMPLES]
    for number, service in enumerate(services):
        namespace = SHOP if number == 0 else f"sample-{number}"
        server.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        for each in objects(service, namespace=namespace, host="shop.example").values():
            if each["kind"] not in CUSTOM:
                server.create(each)
                count += 1
    return count


def request_token(server: KubeApiServer) -> str:
    """Return a token of the service account that the manifests created, as the kubelet requests it."""
    spec = {"spec": {"expirationSeconds": TOKEN_SECONDS}}
    response = server.call("POST", f"/api/v1/namespaces/{SHOP}/serviceaccounts/shop/token", spec)
    return str(response["status"]["token"])


async def watch_slices(server: KubeApiServer, folder: Path) -> None:
    """Watch EndpointSlices while they change and the API server is killed and restarted."""
    token_file = folder / "token"
    token_file.write_text(request_token(server))
    tls = {"ca_file": str(server.ca_file)}
    table = {"source": "kubernetes", "kubernetes": server.url, "token_file": str(token_file), "tls": tls}
    async with open_services(**table, namespace=SHOP, zone="a", watch_timeout="2s") as directory:
        assert await directory.instances("inventory") == ()
        await asyncio.sleep(5)  # some watches without an event
        await _measure(
            "a new slice", directory, 2, lambda: server.create(endpoint_slice("one", "10.1.0.1", "10.1.0.2"))
        )
        await _measure("a second slice", directory, 3, lambda: server.create(endpoint_slice("two", "10.1.0.3")))
        path = f"/apis/discovery.k8s.io/v1/namespaces/{SHOP}/endpointslices"
        await _measure("a deletion", directory, 2, lambda: server.call("DELETE", f"{path}/two"))
        server.kill()
        await asyncio.sleep(2)
        assert len(await directory.instances("inventory")) == 2, "the last known instances stay"
        await asyncio.to_thread(server.start)
        await _measure("after a kill -9", directory, 3, lambda: server.create(endpoint_slice("two", "10.1.0.3")))
        token_file.write_text(request_token(server))
        await _measure("with a new token", directory, 2, lambda: server.call("DELETE", f"{path}/two"))
        role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SHOP}/rolebindings/shop-discovery"
        server.call("DELETE", role)
    async with open_services(**table, namespace=SHOP, initial_timeout="5s") as directory:
        try:
            await directory.client("inventory").get("/")
        except Unavailable as error:
            print(f"without the role binding: {error}")


async def _measure(what: str, directory: Services, count: int, change: Callable[[], object]) -> None:
    """Print how long it takes from the request of a change until the instances follow."""
    started = monotonic()
    await asyncio.to_thread(change)
    await wait_instances(directory, count)
    print(f"{what}: {count} instances after {(monotonic() - started) * 1000:.0f} ms")


def main(etcd_program: str, apiserver_program: str) -> None:
    """Run everything."""
    with Etcd(etcd_program) as etcd, KubeApiServer(apiserver_program, etcd) as server:
        print(f"{server.call('GET', '/version')['gitVersion']}")
        print(f"created {apply_manifests(server, etcd.box.directory)} objects")
        asyncio.run(watch_slices(server, etcd.box.directory))


if __name__ == "__main__":
    main(*sys.argv[1:])
