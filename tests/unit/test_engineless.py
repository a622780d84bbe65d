"""Containers' processes are found by their control groups, whichever version names them."""

from pathlib import Path

from harness.backends.engineless import kill_all, processes_of, read_from

ONE, OTHER = "a1" * 32, "b2" * 32


def process(proc: Path, number: int, groups: str) -> Path:
    entry = proc / str(number)
    entry.mkdir()
    (entry / "cgroup").write_text(groups)
    return entry


def test_both_versions_of_control_groups_are_understood(tmp_path: Path) -> None:
    process(tmp_path, 10, f"12:cpuset:/docker/{ONE}\n1:name=systemd:/docker/{ONE}\n")
    process(tmp_path, 11, f"0::/system.slice/docker-{OTHER}.scope\n")
    process(tmp_path, 12, "0::/user.slice\n")
    (tmp_path / "13").mkdir()  # it has ended meanwhile
    (tmp_path / "self").mkdir()
    assert processes_of([ONE, OTHER], tmp_path) == {10: ONE, 11: OTHER}
    assert processes_of([], tmp_path) == {}


def test_a_file_is_read_through_the_process(tmp_path: Path) -> None:
    entry = process(tmp_path, 10, f"0::/docker/{ONE}\n")
    (entry / "root/trace").mkdir(parents=True)
    (entry / "root/trace/n1.jsonl").write_bytes(b"{}\n")
    assert read_from(ONE, "/trace/n1.jsonl", tmp_path) == b"{}\n"
    assert read_from(ONE, "/trace/n2.jsonl", tmp_path) is None
    assert read_from(OTHER, "/trace/n1.jsonl", tmp_path) is None


def test_nothing_is_killed_where_nothing_is_found() -> None:
    assert kill_all([ONE, OTHER]) == []
