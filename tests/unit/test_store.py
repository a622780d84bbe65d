"""Bundles are there whole, or not at all; and what cannot be read is refused by name."""

import json
from pathlib import Path

import pytest

from chaos.bundle import Manifest
from chaos.errors import BundleError, InfrastructureError
from harness import store

MANIFEST = Manifest(
    scenario="s", plan_id="p", seed=1, backend="sim", trace_hash="00", started_at="2026-01-01T00:00:00Z"
)
FILES = {"plan.json": b"{}\n", "trace/n1.jsonl": b"", "logs/n1.log": b"\xff not text"}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    bundle = store.open_bundle(store.write_bundle(tmp_path, "name", MANIFEST, FILES)[0])
    assert bundle.path == tmp_path / "name"
    assert {name: bundle.read(name) for name in bundle.manifest.files} == FILES
    assert bundle.names("trace/") == ["trace/n1.jsonl"]


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    paths = [store.write_bundle(tmp_path, "name", MANIFEST, FILES)[0].name for _ in range(3)]
    assert paths == ["name", "name-2", "name-3"]


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    path, _ = store.write_bundle(tmp_path, "name", MANIFEST, FILES)
    (path / "plan.json").write_bytes(b"{ }\n")
    with pytest.raises(BundleError, match=r"plan\.json: damaged"):
        store.open_bundle(path).read("plan.json")


def test_a_file_that_is_no_text_or_no_json_is_one_message(tmp_path: Path) -> None:
    # Its checksum is right, so it was written so: by another program, or by a defect of ours.
    files = {"a.jsonl": b'{"x":1}\n[1]\n', "b.jsonl": b'{"x":1}\n{\n', "c.jsonl": '{"x":"\u2028"}\n'.encode()}
    bundle = store.open_bundle(store.write_bundle(tmp_path, "name", MANIFEST, FILES | files)[0])
    for name in ("a.jsonl", "b.jsonl"):
        with pytest.raises(BundleError, match=rf"{name}:2: found .*, expected an object of JSON"):
            bundle.records(name)
    with pytest.raises(BundleError, match=r"n1\.log: expected UTF-8, which byte 0 is not"):
        bundle.text("logs/n1.log")
    assert bundle.records("c.jsonl") == [{"x": "\u2028"}], "a line ends where JSON Lines say"
    assert bundle.records("trace/n1.jsonl") == []


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    path, _ = store.write_bundle(tmp_path, "name", MANIFEST, FILES)
    manifest = json.loads((path / "manifest.json").read_text()) | {"format": 9}
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="bundle format 9 is not known"):
        store.open_bundle(path)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', "{"])
def test_a_broken_manifest_is_one_message(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match="manifest"):
        store.open_bundle(tmp_path)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        store.open_bundle(tmp_path)
    with pytest.raises(BundleError, match="no such directory"):
        store.open_bundle(tmp_path / "absent")


def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr(store, "_write_synced", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InfrastructureError, match=r"No space left.*--out"):
        store.write_bundle(tmp_path / "runs", "name", MANIFEST, FILES)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_full_disk_sends_the_evidence_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = store._write_synced

    def full(path: Path, content: bytes) -> None:
        if tmp_path / "runs" in path.parents:
            raise OSError(28, "No space left on device")
        original(path, content)

    monkeypatch.setattr(store, "_write_synced", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path, why = store.write_bundle(tmp_path / "runs", "name", MANIFEST, FILES)
    assert path.parent == tmp_path / "mcp-chaos-rescued"
    assert why is not None
    assert "No space left" in why
    assert store.open_bundle(path).read("plan.json") == FILES["plan.json"]
