"""Where binaries are looked for, and what images are made of."""

import re
import struct
import sys
from pathlib import Path

import pytest

import harness
from chaos.errors import InfrastructureError
from harness import images

ROOT = Path(harness.__file__).parents[1]


def elf(*, interpreter: bool) -> bytes:
    """The least that `is_static` looks at: a header and one program header."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, 1)
    program = bytearray(56)
    struct.pack_into("<I", program, 0, 3 if interpreter else 1)
    return bytes(header + program)


@pytest.fixture
def static(tmp_path: Path) -> Path:
    path = tmp_path / "static"
    path.write_bytes(elf(interpreter=False))
    return path


def test_static_and_dynamic_programs_are_told_apart(tmp_path: Path, static: Path) -> None:
    dynamic = tmp_path / "dynamic"
    dynamic.write_bytes(elf(interpreter=True))
    assert images.is_static(static)
    assert not images.is_static(dynamic)
    with pytest.raises(InfrastructureError, match="not a 64-bit"):
        images.is_static(Path(__file__))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at this interpreter, an ELF program")
def test_this_interpreter_is_dynamic() -> None:
    assert not images.is_static(Path(sys.executable).resolve())


def test_the_option_goes_before_the_environment(tmp_path: Path, static: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(static.read_bytes())
    environment = {images.NODE_BINARY_VARIABLE: str(other)}
    assert images.node_binary(static, environment).path == static
    found = images.node_binary(None, environment)
    assert (found.path, found.found) == (other, images.NODE_BINARY_VARIABLE)


def test_what_was_named_must_exist_and_be_static(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"--node-binary names .*absent"):
        images.node_binary(tmp_path / "absent", {})
    dynamic = tmp_path / "dynamic"
    dynamic.write_bytes(elf(interpreter=True))
    with pytest.raises(InfrastructureError, match=r"dynamically linked.*cargo build"):
        images.node_binary(dynamic, {})


def test_the_cargo_target_of_a_checkout_is_the_last_resort(
    tmp_path: Path, static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "harness"
    workspace = tmp_path / "rust_core"
    target = workspace / "target/x86_64-unknown-linux-gnu/release"
    for directory in (package, target):
        directory.mkdir(parents=True)
    (workspace / "Cargo.toml").touch()
    monkeypatch.setattr(harness, "__file__", str(package / "__init__.py"))
    with pytest.raises(InfrastructureError, match="cargo build"):
        images.node_binary(None, {})
    (target / "mcp-manager").write_bytes(static.read_bytes())
    assert images.node_binary(None, {}).found == "the checkout's cargo target"
    (package / "bin").mkdir()
    (package / "bin/mcp-manager").write_bytes(static.read_bytes())
    assert images.node_binary(None, {}).found == "the package"
    elsewhere = tmp_path / "elsewhere/x86_64-unknown-linux-gnu/release"
    elsewhere.mkdir(parents=True)
    (elsewhere / "mcp-manager").write_bytes(static.read_bytes())
    (package / "bin/mcp-manager").unlink()
    moved = images.node_binary(None, {"CARGO_TARGET_DIR": str(tmp_path / "elsewhere")})
    assert moved.path.is_relative_to(tmp_path / "elsewhere")


def test_toxiproxy_comes_from_the_cache_or_says_what_it_needs(tmp_path: Path, static: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}
    assert not images.toxiproxy_is_at_hand(None, environment)
    with pytest.raises(InfrastructureError, match="no Go to build it"):
        images.toxiproxy_binary(None, environment)
    cached = images.toxiproxy_cache(environment)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(static.read_bytes())
    assert images.toxiproxy_binary(None, environment).path == cached
    assert images.TOXIPROXY_VERSION in str(cached)


def test_a_relative_cache_directory_is_passed_over(tmp_path: Path) -> None:
    # The XDG specification: relative paths are to be ignored.
    found = images.toxiproxy_cache({"XDG_CACHE_HOME": "cache", "HOME": str(tmp_path)})
    assert found.is_relative_to(tmp_path / ".cache")


def test_equal_content_gives_equal_archives() -> None:
    files = {"a": (b"1", 0o755), "b/c": (b"2", 0o600)}
    assert images.tar(files, directories=("/data",)) == images.tar(files, directories=("/data",))
    assert dict(images.untar(images.tar(files))) == {"a": b"1", "b/c": b"2"}


def test_the_script_builds_the_version_that_the_harness_looks_for() -> None:
    script = (ROOT / "ci/build-toxiproxy.sh").read_text()
    assert re.findall(r"^version=(\S+)", script, re.MULTILINE) == [images.TOXIPROXY_VERSION]
