"""What no schema says of ops/compose and ops/kubernetes. `manifests.py ROOT`: one sentence for each fault, exit status 1 if there is any.

Schemas are asked too, where their packages are: kubernetes-validate has those of the API's releases.
"""

import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(sys.argv[1])
OLDEST, NEWEST = "1.29", "1.37"
ACCOUNT = 65532
faults = []


def expect(holds, sentence):
    if not holds:
        faults.append(sentence)


def compose():
    folder = ROOT / "ops/compose"
    file = yaml.safe_load((folder / "compose.yaml").read_text())
    secrets = file["secrets"]
    for name, secret in secrets.items():
        expect(list(secret) == ["file"], f"compose: secret {name} is not a file")
        # A secret that is in the repository is a default password.
        there = (folder / secret["file"]).exists()
        expect(not there, f"compose: secret {name} is shipped")
    needed = {"hub", "metricsd", "shadow-session", "paper-gateway", "sentinel", "alertbridge"}
    needed |= {"prometheus", "alertmanager", "node-exporter", "grafana"}
    expect(set(file["services"]) == needed, f"compose: the services are {sorted(file['services'])}")
    for name, service in file["services"].items():
        of = f"compose: {name}"
        tag = service["image"].rpartition(":")[2]
        expect(re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag), f"{of}: {service['image']} is no exact version")
        expect(service.get("read_only") is True, f"{of}: its root may be written")
        expect(service.get("cap_drop") == ["ALL"], f"{of}: it keeps capabilities")
        expect("no-new-privileges:true" in service.get("security_opt", []), f"{of}: it may gain privileges")
        expect(not service.get("privileged"), f"{of}: it is privileged")
        if name == "hub":
            for port in service["ports"]:
                expect(port.startswith("127.0.0.1:"), f"{of}: {port} is published beyond loopback")
                expect(":5555" not in port, f"{of}: the gateway is published")
        else:
            expect(service.get("network_mode") == "service:hub", f"{of}: it is in another network")
            expect("ports" not in service, f"{of}: it publishes ports by itself")
            expect("test" in service.get("healthcheck", {}), f"{of}: nobody asks for its health")
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", key):
                expect(key.endswith("__FILE"), f"{of}: {key} is not read from a file")
                expect(str(value).startswith("/run/secrets/"), f"{of}: {key} is no secret")
        for secret in service.get("secrets", []):
            expect(secret in secrets, f"{of}: no secret {secret}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                expect((folder / source).exists(), f"{of}: {source} is not there")
                expect(volume.endswith(":ro"), f"{of}: {source} may be written")
            elif not source.startswith("/"):
                expect(source in file["volumes"], f"{of}: no volume {source}")
    grafana = file["services"]["grafana"]["environment"]
    expect("GF_SECURITY_ADMIN_PASSWORD__FILE" in grafana, "compose: Grafana has its default password")
    shards = file["volumes"]["shards"]["driver_opts"]
    expect(shards["type"] == "tmpfs", "compose: the shards are on a disk")
    expect(f"uid={ACCOUNT}," in shards["o"], "compose: the shards are another account's")


def pod_rules(of, spec):
    expect(spec.get("automountServiceAccountToken") is False, f"{of}: it has a token of the API")
    context = spec["securityContext"]
    expect(context["runAsNonRoot"] is True, f"{of}: it may be root")
    # The kernel says who has a file open to its owner alone.
    expect(context["runAsUser"] == ACCOUNT, f"{of}: writers and daemon are not one account")
    expect(context["seccompProfile"]["type"] == "RuntimeDefault", f"{of}: no seccomp profile")
    containers = spec.get("initContainers", []) + spec["containers"]
    for container in containers:
        name = f"{of}/{container['name']}"
        own = container["securityContext"]
        expect(own["allowPrivilegeEscalation"] is False, f"{name}: it may gain privileges")
        expect(own["readOnlyRootFilesystem"] is True, f"{name}: its root may be written")
        expect(own["capabilities"]["drop"] == ["ALL"], f"{name}: it keeps capabilities")
        expect("memory" in container["resources"]["limits"], f"{name}: no memory limit")
        expect(not container["image"].endswith(":latest") and ":" in container["image"], f"{name}: no version")
        if container["name"] == "metricsd":
            expect(container["readinessProbe"]["httpGet"]["path"] == "/-/ready", f"{name}: readiness")
            expect(container["livenessProbe"]["httpGet"]["path"] == "/-/healthy", f"{name}: liveness")
        else:
            expect("runAsUser" not in own or container["name"] == "directories", f"{name}: another account")
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        claims = {volume["name"] for volume in spec.get("volumes", [])} | {"state"}
        expect(mounts <= claims, f"{name}: mounts {sorted(mounts - claims)}, which are not there")


def kubernetes():
    import kubernetes_validate

    for file in ("sidecar.yaml", "daemonset.yaml"):
        text = (ROOT / "ops/kubernetes" / file).read_text()
        documents = list(yaml.safe_load_all(text))
        for document in documents:
            of = f"{file}: {document['kind']} {document['metadata']['name']}"
            for version in (OLDEST, NEWEST):
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    faults.append(f"{of}: {version}: {error.message}")
            template = document["spec"].get("template")
            if template:
                wanted = document["spec"]["selector"]["matchLabels"]
                labels = template["metadata"]["labels"]
                expect(wanted.items() <= labels.items(), f"{of}: it does not select its own pods")
                pod_rules(of, template["spec"])
        services = [d for d in documents if d["kind"] == "Service"]
        monitor = yaml.safe_load((ROOT / "ops/kubernetes/servicemonitor.yaml").read_text())["spec"]
        for service in services:
            labels = service["metadata"]["labels"]
            expect(monitor["selector"]["matchLabels"].items() <= labels.items(), f"{file}: not monitored")
            expect(labels[monitor["jobLabel"]] == "peak_trade_metricsd", f"{file}: another job")
            ports = [port["name"] for port in service["spec"]["ports"]]
            expect(monitor["endpoints"][0]["port"] in ports, f"{file}: the monitored port is not there")
    sidecar = list(yaml.safe_load_all((ROOT / "ops/kubernetes/sidecar.yaml").read_text()))
    pod = next(d for d in sidecar if d["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    shards = next(volume for volume in pod["volumes"] if volume["name"] == "shards")
    expect(shards["emptyDir"]["medium"] == "Memory", "sidecar.yaml: the shards are on a disk")


compose()
kubernetes()
print("\n".join(faults))
sys.exit(1 if faults else 0)
