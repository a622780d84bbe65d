"""Orphans are told from what live runs own, and only they are removed."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from harness import clean, labels
from harness.labels import Life, Owner


class FakeApi:
    """The engine's calls that `clean` makes, over lists."""

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {
            "container": [],
            "network": [],
            "volume": [],
            "image": [],
        }
        self.removed: list[tuple[str, str]] = []
        self.refuse: set[str] = set()

    def add(self, kind: str, name: str, owner: Owner | None, **more: Any) -> None:
        put_on = owner.labels() if owner is not None else {"com.example": "theirs"}
        self.objects[kind].append({"Id": name, "Name": name, "Names": [f"/{name}"], "Labels": put_on, **more})

    def _matching(self, kind: str, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        wanted = dict(label.split("=", 1) for label in filters["label"])
        return [item for item in self.objects[kind] if wanted.items() <= item["Labels"].items()]

    def containers(self, *, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:  # noqa: A002
        assert all, "dead containers too"
        return self._matching("container", filters)

    def networks(self, *, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        return self._matching("network", filters)

    def volumes(self, *, filters: dict[str, list[str]]) -> dict[str, Any]:
        return {"Volumes": self._matching("volume", filters) or None}

    def images(self, *, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        return self._matching("image", filters)

    def _remove(self, kind: str, name: str) -> None:
        if name in self.refuse:
            raise APIError(f"cannot remove {name}")
        for item in self.objects[kind]:
            if item["Id"] == name:
                self.objects[kind].remove(item)
                self.removed.append((kind, name))
                return
        raise NotFound(f"no such {kind}: {name}")

    def remove_container(self, name: str, *, v: bool, force: bool) -> None:
        assert v, "with its anonymous volumes"
        assert force, "running or not"
        self._remove("container", name)

    def remove_network(self, name: str) -> None:
        self._remove("network", name)

    def remove_volume(self, name: str, *, force: bool) -> None:
        assert force
        self._remove("volume", name)

    def remove_image(self, name: str) -> None:
        self._remove("image", name)


class FakeEngine:
    def __init__(self) -> None:
        self.api = FakeApi()


@pytest.fixture
def engine() -> Any:
    return FakeEngine()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def ours(run: str = "run1") -> Owner:
    return Owner.current(run)


def dead(run: str = "dead") -> Owner:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return replace(Owner.current(run), pid=ended.pid)


def test_labels_say_whose_an_object_is() -> None:
    owner = ours()
    assert Owner.from_labels(owner.labels()) == owner
    assert owner.pid == os.getpid()
    assert owner.life() is Life.ALIVE
    assert Owner.from_labels({"com.example": "theirs"}) is None


def test_another_process_with_the_same_number_is_not_the_owner() -> None:
    assert replace(ours(), started_ms=ours().started_ms - 60_000).life() is Life.DEAD


def test_an_ended_process_and_a_zombie_own_nothing() -> None:
    assert dead().life() is Life.DEAD
    zombie = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    started_ms = ours().started_ms
    try:
        owner = replace(ours(), pid=zombie.pid, started_ms=started_ms)
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has taken note
        assert owner.life() is Life.DEAD
    finally:
        zombie.wait()


def test_damaged_labels_make_an_orphan() -> None:
    damaged = ours().labels() | {"io.mcp-chaos.pid": "many"}
    owner = Owner.from_labels(damaged)
    assert owner is not None
    assert owner.life() is Life.DEAD


def test_orphans_are_removed_and_live_runs_and_others_are_spared(engine: Any) -> None:
    for kind in ("container", "network", "volume"):
        engine.api.add(kind, f"live-{kind}", ours("live"), State="running")
        engine.api.add(kind, f"dead-{kind}", dead(), State="running")
        engine.api.add(kind, f"foreign-{kind}", None, State="running")
    removed = clean.clean(engine)
    assert engine.api.removed == [
        ("container", "dead-container"),
        ("network", "dead-network"),
        ("volume", "dead-volume"),
    ], "containers first: what they use cannot be removed before them"
    assert removed.total == 3
    assert removed.to_dict()["networks"] == ["dead-network"]
    assert removed.spared == [f"run live (process {os.getpid()})"]
    assert not removed.failures


def test_after_a_reboot_what_does_not_run_is_an_orphan(engine: Any) -> None:
    before = replace(ours("before"), host_boot="another boot")
    engine.api.add("container", "c", before, State="exited")
    engine.api.add("network", "n", before)
    assert clean.clean(engine).total == 2


def test_what_another_machine_runs_is_spared_unless_everything_is_to_go(engine: Any) -> None:
    elsewhere = replace(ours("elsewhere"), host_boot="another machine")
    assert elsewhere.life() is Life.ELSEWHERE
    engine.api.add("container", "c", elsewhere, State="running")
    engine.api.add("network", "n", elsewhere)
    removed = clean.clean(engine)
    assert removed.total == 0
    assert len(removed.spared) == 1
    assert clean.clean(engine, everything=True).total == 2


def test_a_run_removes_all_of_its_own_and_nothing_else(engine: Any) -> None:
    engine.api.add("container", "mine", ours("mine"), State="running")
    engine.api.add("container", "other", ours("other"), State="running")
    assert clean.remove_run(engine, "mine").containers == ["mine"]
    assert clean.remove_run(engine, "mine").total == 0, "it may be repeated"
    assert [item["Id"] for item in engine.api.objects["container"]] == ["other"]


def test_what_cannot_be_removed_is_listed_and_the_rest_is_removed(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "_PAUSE_BEFORE_RETRY_S", 0)
    engine.api.add("container", "stuck", dead(), State="running")
    engine.api.add("container", "loose", dead(), State="running")
    engine.api.refuse.add("stuck")
    removed = clean.clean(engine)
    assert removed.containers == ["loose"]
    assert removed.failures == ["container stuck: cannot remove stuck"]


def test_images_go_only_when_asked_for(engine: Any) -> None:
    image = {"Id": "sha256:1", "RepoTags": ["mcp-chaos/node:1"], "Labels": labels.project_labels()}
    engine.api.objects["image"].append(image)
    assert clean.clean(engine).images == []
    image["Id"] = "mcp-chaos/node:1"
    assert clean.clean(engine, images=True).images == ["mcp-chaos/node:1"]


def test_what_appears_after_the_first_look_is_removed_too(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A harness killed in the middle of a request: the engine makes the object all the same, a moment later.
    monkeypatch.setattr(clean, "connect", lambda: engine)
    monkeypatch.setattr(engine, "close", lambda: None, raising=False)
    late = iter([lambda: engine.api.add("network", "late", dead(), State="running"), *[lambda: None] * 9])
    monkeypatch.setattr("time.sleep", lambda _seconds: next(late)())
    engine.api.add("container", "early", dead(), State="running")
    removed = clean.remove_orphans()
    assert (removed.containers, removed.networks) == (["early"], ["late"])


def test_scratch_directories_of_dead_runs_are_removed(engine: Any) -> None:
    live = clean.scratch_directory(ours("live"))
    orphan = clean.scratch_directory(dead())
    assert live.stat().st_mode & 0o777 == 0o700
    removed = clean.clean(engine)
    assert removed.folders == [str(orphan)]
    assert live.exists()
    clean.remove_run(engine, "live")
    assert not live.exists()


def test_names_of_runs_do_not_run_into_each_other(engine: Any) -> None:
    longer = clean.scratch_directory(ours("ab"))
    clean.remove_run(engine, "a")
    assert longer.exists()


def test_the_label_filter_is_exact() -> None:
    assert labels.run_filter("r") == {"label": ["io.mcp-chaos.project=mcp-chaos", "io.mcp-chaos.run=r"]}
