"""The parts of the local cluster that need neither root nor a network: keys, rendered configuration, ports, hashes."""

import io
import json
import os
import re
import socket
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from localcluster import __main__ as command_line
from localcluster import (
    archive,
    base_image,
    binaries,
    builders,
    certificates,
    components,
    image_build,
    kwok,
    layer_filter,
    layout,
    machine,
    node_config,
    ports,
    process,
    sweep,
    versions,
)
from localcluster.components import APISERVER, ControlPlaneOptions, Files, Ports
from localcluster.errors import LocalClusterError, MissingPrerequisite

PORTS = Ports(apiserver=1, etcd=2, etcd_peer=3, controller_manager=4, scheduler=5)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "cache"


def files(directory: Path) -> Files:
    authority = certificates.CertificateAuthority(directory)
    return Files(
        directory=directory,
        ca=authority.own,
        serving=authority.pair("serving"),
        kubelet_client=authority.pair("kubelet-client"),
        service_account_key=directory / "sa.key",
        service_account_public_key=directory / "sa.pub",
    )


class TestVersions:
    def test_go_module_pins_the_same_versions(self) -> None:
        module = (binaries.KUBERNETES_MODULE / "go.mod").read_text()
        required = dict(re.findall(r"^\t(k8s\.io/kubernetes|go\.etcd\.io/etcd/server/v3) v(\S+)", module, re.MULTILINE))
        assert required == {"k8s.io/kubernetes": versions.KUBERNETES, "go.etcd.io/etcd/server/v3": versions.ETCD}
        staging = set(re.findall(r"k8s\.io/\S+ => k8s\.io/\S+ v(\S+)", module))
        assert staging == {"0." + versions.KUBERNETES.partition(".")[2]}

    def test_every_program_that_is_built_is_a_tool_of_the_module(self) -> None:
        module = (binaries.KUBERNETES_MODULE / "go.mod").read_text()
        packages = [
            p for group in binaries.GROUPS.values() if group.in_kubernetes_module for p in group.packages.values()
        ]
        assert [package for package in packages if f"\t{package}\n" not in module] == []

    def test_cache_key_changes_with_any_input_and_with_order(self) -> None:
        keys = {
            versions.cache_key("kwok", "1.0", inputs)
            for inputs in ([b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b""], [b"a"])
        }
        assert len(keys) == 5
        assert all(key.startswith(f"kwok-1.0-{versions.target()}-") for key in keys)

    def test_cache_root_is_chosen_by_the_environment(self, cache: Path) -> None:
        assert versions.cache_root() == cache
        assert layout.kubeconfig_path() == cache / "cluster" / "kubeconfig"


class TestBinaries:
    @pytest.mark.parametrize(("text", "want"), [("go1.26.8", (1, 26)), ("go1.27rc1", (1, 27)), ("devel +abc", (0, 0))])
    def test_go_version_is_read(self, text: str, want: tuple[int, int]) -> None:
        assert binaries.go_version(text) == want

    def test_unknown_group_names_the_known_ones(self, cache: Path) -> None:
        with pytest.raises(LocalClusterError, match=r"'kublet'.*control-plane"):
            binaries.ensure("kublet")

    def test_missing_go_is_a_missing_prerequisite(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(MissingPrerequisite, match=r"Go is not installed.*1\.26"):
            binaries.ensure("helm")
        assert list((cache / "bin").glob("helm-*")) == []

    def test_cached_programs_need_no_go(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not binaries.is_cached("helm")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", "/nonexistent")
            with pytest.raises(MissingPrerequisite):
                binaries.ensure("helm")
        group = binaries.GROUPS["helm"]
        key = versions.cache_key(
            "helm",
            versions.HELM,
            [group.link_flags.encode(), *(package.encode() for package in group.packages.values())],
        )
        (cache / "bin" / key).mkdir(parents=True)
        monkeypatch.setenv("PATH", "/nonexistent")
        assert binaries.ensure("helm") == cache / "bin" / key

    def test_incomplete_assets_are_named(self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
        with pytest.raises(LocalClusterError, match="lacks etcd, kube-apiserver, kubectl"):
            binaries.ensure("control-plane")


class TestPorts:
    def test_picked_ports_are_distinct_free_and_out_of_the_way(self) -> None:
        picked = ports.pick_free(20)
        assert len(set(picked)) == 20
        assert all(ports.FIRST <= port <= ports.LAST and ports.is_free(port) for port in picked)

    def test_port_with_a_listener_is_not_free(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            assert not ports.is_free(listener.getsockname()[1])


class TestCertificates:
    def test_subject_escapes_what_openssl_would_split_at(self) -> None:
        assert certificates.subject("system:node:a", ["team/a", "b"]) == r"/O=team\/a/O=b/CN=system:node:a"

    def test_addresses_and_names_are_told_apart(self) -> None:
        assert "subjectAltName=DNS:localhost,IP:127.0.0.1\n" in certificates.extension_text(["localhost", "127.0.0.1"])

    def test_authority_keeps_what_it_issued(self, tmp_path: Path) -> None:
        authority = certificates.CertificateAuthority(tmp_path)
        authority.create()
        first = authority.issue("alice", "alice").certificate.read_bytes()
        authority.create()
        assert authority.issue("alice", "alice").certificate.read_bytes() == first
        assert authority.own.key.stat().st_mode & 0o077 == 0


class TestComponents:
    def test_apiserver_without_controller_manager_asks_for_no_accounts(self, tmp_path: Path) -> None:
        alone = ControlPlaneOptions(components=("etcd", "kube-apiserver"))
        assert "--disable-admission-plugins=ServiceAccount" in components.apiserver_arguments(
            files(tmp_path), PORTS, alone
        )
        whole = components.apiserver_arguments(files(tmp_path), PORTS, ControlPlaneOptions())
        assert "--disable-admission-plugins=ServiceAccount" not in whole

    def test_loopback_is_never_advertised_to_pods(self, tmp_path: Path) -> None:
        reachable = ControlPlaneOptions(advertise_address="10.244.0.1")
        assert "--endpoint-reconciler-type=none" in components.apiserver_arguments(
            files(tmp_path), PORTS, ControlPlaneOptions()
        )
        assert "--endpoint-reconciler-type=none" not in components.apiserver_arguments(
            files(tmp_path), PORTS, reachable
        )

    def test_audit_log_can_be_limited_to_some_users(self) -> None:
        everybody = yaml.safe_load(components.audit_policy(ControlPlaneOptions()))
        assert everybody["rules"] == [{"level": "Metadata"}]
        some = yaml.safe_load(components.audit_policy(ControlPlaneOptions(audit_users=("me", "system:node:a"))))
        assert some["rules"] == [{"level": "Metadata", "users": ["me", "system:node:a"]}]

    def test_audit_log_is_off_unless_asked_for(self, tmp_path: Path) -> None:
        for wanted in (False, True):
            arguments = components.apiserver_arguments(files(tmp_path), PORTS, ControlPlaneOptions(audit_log=wanted))
            assert any(argument.startswith("--audit-log-path=") for argument in arguments) is wanted

    @pytest.mark.parametrize("component", components.ALL)
    def test_extra_arguments_come_last_so_that_they_win(self, component: str, tmp_path: Path) -> None:
        options = ControlPlaneOptions(extra_arguments={component: ["--v=4"]})
        assert components.arguments_of(component, files(tmp_path), PORTS, options)[-1] == "--v=4"

    def test_controller_manager_gets_its_client_limits(self, tmp_path: Path) -> None:
        options = ControlPlaneOptions(controller_manager_qps=7, controller_manager_burst=9)
        arguments = components.controller_manager_arguments(files(tmp_path), PORTS, options)
        assert {"--kube-api-qps=7", "--kube-api-burst=9"} <= set(arguments)

    def test_certificate_covers_service_address_and_advertised_address(self) -> None:
        names = components.serving_names(ControlPlaneOptions(advertise_address="10.244.0.1"))
        assert {"127.0.0.1", "10.96.0.1", "10.244.0.1", "kubernetes.default.svc"} <= set(names)
        assert len(names) == len(set(names))

    def test_unknown_component_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no component called 'kubelet'"):
            components.arguments_of("kubelet", files(tmp_path), PORTS, ControlPlaneOptions())
        assert APISERVER in components.ALL


class TestNodeConfig:
    @pytest.mark.parametrize("restrict", [True, False])
    def test_containerd_config_is_toml_with_everything_under_our_root(self, restrict: bool, cache: Path) -> None:
        places = layout.Layout(Path("/some root"))
        text = node_config.containerd_config(places, Path("/plugins"), restrict_oom_score=restrict)
        config = tomllib.loads(text)
        cri = config["plugins"]["io.containerd.grpc.v1.cri"]
        assert cri["restrict_oom_score_adj"] is restrict
        assert cri["sandbox_image"] == layout.BUSYBOX_IMAGE
        assert (config["root"], config["state"]) == (str(cache / "containerd"), "/some root/containerd")
        assert config["grpc"]["address"].startswith("/some root/")

    def test_kubelet_config_runs_on_cgroup_v1_and_keeps_images(self, tmp_path: Path) -> None:
        pair = certificates.KeyPair(tmp_path / "a.crt", tmp_path / "a.key")
        text = node_config.kubelet_config(layout.Layout(tmp_path), tmp_path / "ca.crt", pair, ["192.0.2.53"])
        config = yaml.safe_load(text)
        assert config["failCgroupV1"] is False
        assert config["imageGCHighThresholdPercent"] == 100
        assert config["clusterDNS"] == ["192.0.2.53"]
        assert config["authentication"]["anonymous"]["enabled"] is False

    def test_network_config_leaves_packet_filtering_alone(self) -> None:
        bridge = json.loads(node_config.cni_config(layout.Layout()))["plugins"][0]
        assert bridge["bridge"] == layout.BRIDGE
        assert bridge["ipMasq"] is False

    @pytest.mark.parametrize(
        ("resolv_conf", "want"),
        [
            ("nameserver 192.0.2.53\nsearch a b\n", ["192.0.2.53"]),
            ("nameserver 127.0.0.53\n", [layout.NODE_ADDRESS]),
            ("nameserver ::1\nnameserver fd00::1\n# nameserver 192.0.2.1\n", [layout.NODE_ADDRESS]),
            ("nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", None),
            ("", [layout.NODE_ADDRESS]),
        ],
        ids=["own", "only this machine's", "no IPv4", "at most three", "none"],
    )
    def test_pods_get_nameservers_that_they_can_reach(self, resolv_conf: str, want: list[str] | None) -> None:
        assert node_config.pod_nameservers(resolv_conf) == (want or ["192.0.2.1", "192.0.2.2", "192.0.2.3"])

    @pytest.mark.parametrize(("mask", "want"), [("000001fffeffffff", True), ("000001ffffffffff", False)])
    def test_missing_capability_is_seen(self, mask: str, want: bool) -> None:
        assert node_config.lacks_sys_resource(f"CapPrm:\t0\nCapEff:\t{mask}\n") is want


class TestSweep:
    MOUNTINFO = (
        "22 27 0:21 / /proc rw - proc proc rw\n"
        "40 27 0:30 / /var/lib/vidbench-cluster/a rw - tmpfs tmpfs rw\n"
        "41 40 0:31 / /var/lib/vidbench-cluster/a/with\\040blank rw - tmpfs tmpfs rw\n"
        "42 27 0:32 / /var/lib/vidbench-cluster-other rw - tmpfs tmpfs rw\n"
    )

    def test_only_mounts_below_the_root_are_ours_latest_first(self) -> None:
        found = sweep.mounts_below(Path("/var/lib/vidbench-cluster"), self.MOUNTINFO)
        assert [str(path) for path in found] == [
            "/var/lib/vidbench-cluster/a/with blank",
            "/var/lib/vidbench-cluster/a",
        ]

    def test_only_links_into_our_directory_are_removed(self, tmp_path: Path) -> None:
        ours, links = tmp_path / "ours", tmp_path / "links"
        links.mkdir()
        (links / "mine").symlink_to(ours / "x.log")
        (links / "other").symlink_to(tmp_path / "elsewhere" / "y.log")
        sweep.remove_links_into(ours, links)
        assert [entry.name for entry in links.iterdir()] == ["other"]

    def test_machine_is_restored_to_what_was_noted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        absent, present = tmp_path / "absent", tmp_path / "present"
        present.mkdir()
        monkeypatch.setattr(machine, "_SETTINGS", ())
        monkeypatch.setattr(machine, "_SHARED_DIRECTORIES", (str(absent), str(present)))
        note = tmp_path / "state" / "machine.json"
        assert machine.remember(note)[1] is False
        absent.mkdir()
        note.write_text(note.read_text().replace(json.loads(note.read_text())["boot_id"], "another boot"))
        assert machine.remember(note)[1] is True
        assert machine.remember(note)[1] is False
        machine.restore(note)
        assert (absent.exists(), present.exists()) == (False, True)


class TestImageBuild:
    DOCKERFILE = (
        "ARG BASE=x\nFROM ${BASE}\n  arg SSL_CERT_FILE\nARG PIP_INDEX_URL=y\n# ARG NOT_ME\nRUN echo ARG NOR_ME\n"
    )

    def test_machine_settings_go_to_those_who_ask(self) -> None:
        assert image_build.declared_arguments(self.DOCKERFILE) == {"BASE", "SSL_CERT_FILE", "PIP_INDEX_URL"}
        environment = {"SSL_CERT_FILE": "/c", "PIP_INDEX_URL": "u", "UV_INDEX_URL": "v", "HOME": "/"}
        passed = image_build.machine_arguments(self.DOCKERFILE, {"PIP_INDEX_URL": "given"}, environment)
        assert passed == {"SSL_CERT_FILE": "/c"}

    def test_hash_changes_with_content_name_mode_and_arguments(self, tmp_path: Path) -> None:
        def current(dockerfile: str = "FROM x", **arguments: str) -> str:
            return image_build.inputs_hash(
                dockerfile, image_build.files_of(tmp_path, [Path("app")]), tmp_path, arguments
            )

        (tmp_path / "app" / "__pycache__").mkdir(parents=True)
        (tmp_path / "app" / "a.py").write_text("1")
        first = current()
        (tmp_path / "app" / "__pycache__" / "a.pyc").write_text("noise")
        (tmp_path / "beside.py").write_text("not an input")
        assert current() == first
        seen = {first, current("FROM y"), current(A="1"), current(A="2")}
        (tmp_path / "app" / "a.py").write_text("2")
        seen.add(current())
        (tmp_path / "app" / "a.py").chmod(0o755)
        seen.add(current())
        (tmp_path / "app" / "a.py").rename(tmp_path / "app" / "b.py")
        seen.add(current())
        assert len(seen) == 7

    def test_missing_input_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(LocalClusterError, match="nowhere"):
            image_build.files_of(tmp_path, [Path("nowhere")])

    @pytest.mark.parametrize(
        ("sources", "want"),
        [
            ("Types: deb\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\n", "http://a/debian"),
            ("URIs: http://a/debian-security\nSuites: bookworm-security\n", None),
            ("deb [signed-by=/k] http://b/debian bookworm main\n", "http://b/debian"),
            ("deb http://b/cloud-sdk x main\n# deb http://c/debian bookworm main\n", None),
            ("", None),
        ],
        ids=["deb822", "security only", "one line", "others", "nothing"],
    )
    def test_package_mirror_is_found(self, sources: str, want: str | None) -> None:
        assert base_image.debian_mirror(sources) == want


def image_archive(tmp_path: Path) -> tuple[Path, str]:
    layer, image = tmp_path / "layer.tar", tmp_path / "image.tar"
    archive.write_layer(layer, {"bin/program": b"content"}, {"bin/link": "program"}, {"bin": 0o755})
    archive.write_image(image, "localhost/x:1", layer, command=["/bin/program"], environment={"PATH": "/bin"})
    with tarfile.open(image) as opened:
        return image, "sha256:" + next(name for name in opened.getnames() if name.endswith(".tar")).removesuffix(".tar")


class TestArchive:
    def test_same_content_gives_the_same_image(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        first, second = (image_archive(tmp_path / name)[0] for name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
        assert archive.image_id_in(first) == archive.image_id_in(second)

    def test_known_layers_do_not_travel_but_stay_in_the_manifest(self, tmp_path: Path) -> None:
        image, layer_digest = image_archive(tmp_path)
        sizes = {}
        for present in (set(), {layer_digest}):
            received = io.BytesIO()
            with image.open("rb") as source:
                layer_filter.pass_on(source, received, reference="localhost/x:1", present=present)
            with tarfile.open(fileobj=io.BytesIO(received.getvalue())) as opened:
                blobs = {"sha256:" + Path(name).name for name in opened.getnames() if name.startswith("blobs/")}
                index = json.load(opened.extractfile("index.json") or io.BytesIO())
                manifest_name = index["manifests"][0]["digest"].replace(":", "/")
                manifest = json.load(opened.extractfile(f"blobs/{manifest_name}") or io.BytesIO())
            assert manifest["layers"][0]["digest"] == layer_digest
            assert manifest["config"]["digest"] == archive.image_id_in(image)
            assert index["manifests"][0]["annotations"] == {"io.containerd.image.name": "localhost/x:1"}
            sizes[len(present)] = layer_digest in blobs
        assert sizes == {0: True, 1: False}

    def test_something_else_is_refused(self, tmp_path: Path) -> None:
        empty = io.BytesIO()
        with tarfile.open(fileobj=empty, mode="w"):
            pass
        with pytest.raises(ValueError, match=r"unknown kind: no 'manifest\.json'"):
            layer_filter.pass_on(io.BytesIO(empty.getvalue()), io.BytesIO(), reference="x", present=set())


class TestProcess:
    def test_program_is_found_again_and_stopped_by_another_holder(self, tmp_path: Path) -> None:
        first, second = process.Daemon("sleeper", tmp_path), process.Daemon("sleeper", tmp_path)
        first.start(["sleep", "60"])
        assert second.pid == first.pid
        second.start(["sleep", "60"])
        assert second.pid == first.pid
        first.stop()
        assert not first.is_running
        assert not second.is_running

    def test_program_that_someone_else_started_anew_is_seen(self, tmp_path: Path) -> None:
        first, second = process.Daemon("sleeper", tmp_path), process.Daemon("sleeper", tmp_path)
        first.start(["sleep", "60"])
        second.stop()
        second.start(["sleep", "60"])
        assert first.pid == second.pid
        first.stop()
        assert not second.is_running

    def test_pid_that_now_belongs_to_someone_else_is_never_hit(self, tmp_path: Path) -> None:
        (tmp_path / "sleeper.pid").write_text(f"{os.getpid()} 1\n")
        stale = process.Daemon("sleeper", tmp_path)
        assert stale.pid is None
        stale.stop()
        assert not (tmp_path / "sleeper.pid").exists()

    def test_last_words_are_kept_for_the_error(self, tmp_path: Path) -> None:
        daemon = process.Daemon("talker", tmp_path, die_with_parent=True)
        daemon.start([sys.executable, "-c", "print('something is wrong')"])
        while daemon.is_running:
            pass
        assert daemon.last_words() == "something is wrong"
        daemon.stop()

    def test_program_that_does_not_exist_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(LocalClusterError, match="nobody cannot be started"):
            process.Daemon("nobody", tmp_path).start([tmp_path / "missing"])


class TestKwok:
    def test_every_stage_is_one_document_that_says_what_it_does(self) -> None:
        assert len(kwok.STAGES) >= 4
        for path in kwok.STAGES:
            stage = yaml.safe_load(path.read_text())
            assert stage["metadata"]["name"] == path.stem
            assert path.read_text().startswith("# ")

    @pytest.mark.parametrize("tainted", [True, False])
    def test_fake_node_has_gpus_and_kwok_looks_after_it(self, tainted: bool) -> None:
        node = kwok.fake_node("fake-1", 8, tainted=tainted)
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
        assert node["metadata"]["annotations"]["kwok.x-k8s.io/node"] == "fake"
        assert bool(node["spec"]["taints"]) is tainted


class TestCommandLine:
    def test_missing_prerequisites_are_said_all_at_once_with_exit_code_3(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("VIDBENCH_CLUSTER", raising=False)
        monkeypatch.setattr(command_line.SingleNodeCluster, "exists", False)
        monkeypatch.setattr(command_line, "answering_engine", lambda: None)
        monkeypatch.setattr(command_line, "missing_for_own_node", lambda: ["root", "Go"])
        assert command_line.main(["up"]) == 3
        said = capsys.readouterr().err
        assert "container engine" in said
        assert "root; Go" in said

    def test_misspelt_choice_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("VIDBENCH_CLUSTER", "minikube")
        assert command_line.main(["status"]) == 1
        assert "neither `kind` nor `node`" in capsys.readouterr().err

    def test_kubeconfig_without_a_cluster_says_so(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert command_line.main(["kubeconfig"]) == 1
        assert "there is no cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "tries"), [("Close_Fd sealing memfd copy: Device or resource busy", 3), ("no such package", 1)]
)
def test_build_is_tried_again_only_when_the_builder_could_not_seal_itself(
    tmp_path: Path, message: str, tries: int
) -> None:
    counter, program = tmp_path / "tries", tmp_path / "buildah"
    program.write_text(f'#!/bin/sh\necho try >> {counter}\necho "{message}"\nexit 1\n')
    program.chmod(0o755)
    request = builders.BuildRequest("tag", tmp_path / "Dockerfile", tmp_path, log=tmp_path / "log")
    with pytest.raises(LocalClusterError, match=message):
        builders._run_build([str(program)], request)
    assert counter.read_text().splitlines() == ["try"] * tries


@pytest.mark.parametrize(("unnamed", "removed"), [("sha256:aa sha256:bb", ["aa"]), ("sha256:bb", []), ("", [])])
def test_superseded_image_goes_unless_something_still_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: str, removed: list[str]
) -> None:
    said, program = tmp_path / "removed", tmp_path / "buildah"
    program.write_text(f'#!/bin/sh\n[ "$1" = images ] && echo "{unnamed}" && exit\necho "$2" >> {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    builders.Buildah().remove_if_unnamed("sha256:aa")
    assert (said.read_text().split() if said.exists() else []) == removed
