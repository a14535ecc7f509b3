"""What append returned from is never lost to a kill, and what could not be written is never half there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.errors import ClearwayError
from serving.events.reader import closed_segments, read_segment
from serving.events.writer import EventsUnavailable, EventWriter
from serving.settings import PROJECT

pytestmark = pytest.mark.faults


def numbers(events: Path) -> list[int]:
    return [event["n"] for path in closed_segments(events) for event in read_segment(path)]


def test_events_come_back_in_order_over_rotations(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "arm", rotate_bytes=200)
    for n in range(50):
        writer.append([{"n": n}, {"n": n + 1000}])
    writer.close()
    assert len(closed_segments(tmp_path)) > 3
    assert numbers(tmp_path) == [value for n in range(50) for value in (n, n + 1000)]


def test_a_segment_is_closed_by_age_though_nothing_comes(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "arm", rotate_seconds=0.2, fsync_seconds=0.05)
    writer.append([{"n": 1}])
    assert closed_segments(tmp_path) == []
    deadline = time.monotonic() + 5
    while not closed_segments(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert numbers(tmp_path) == [1]
    writer.close()
    assert len(closed_segments(tmp_path)) == 1  # no empty segment


def test_threads_share_a_writer(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "arm", rotate_bytes=2000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: writer.append([{"n": n}]), range(500)))
    writer.close()
    assert sorted(numbers(tmp_path)) == list(range(500))


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from serving.events.writer import EventWriter
writer = EventWriter(Path(sys.argv[1]), rotate_bytes=5000)
for n in range(10**9):
    writer.append([{"n": n, "padding": "x" * 50}])
    print(n, flush=True)
"""


def test_kill_nine_loses_nothing_that_append_returned_from(tmp_path: Path) -> None:
    arm = tmp_path / "arm"
    promised = -1
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_UNTIL_KILLED, str(arm)], stdout=subprocess.PIPE, text=True, cwd=PROJECT
        )
        assert process.stdout is not None
        for _ in range(300 + 50 * round_):
            promised = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        EventWriter(arm).close()  # the next life recovers
        written = numbers(tmp_path)
        # Rounds start from 0 again: the last one's events are the tail.
        start = len(written) - 1 - written[::-1].index(0)
        assert written[start:][: promised + 1] == list(range(promised + 1))
    assert not list(arm.glob("*.open"))


def test_a_torn_line_is_kept_aside_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arm = tmp_path / "arm"
    arm.mkdir()
    (arm / "000007.open").write_bytes(b'{"n": 1}\n{"n": 2}\n{"n": 3, "to')
    (arm / "000008.open").write_bytes(b'{"n"')
    writer = EventWriter(arm)
    assert writer.torn_lines == 2
    assert "torn line" in caplog.text
    assert (arm / "000007.torn").read_bytes() == b'{"n": 3, "to'
    writer.append([{"n": 4}])
    writer.close()
    assert numbers(tmp_path) == [1, 2, 4]
    assert [path.name for path in closed_segments(tmp_path)] == ["000007.jsonl", "000009.jsonl"]


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    with pytest.raises(EventsUnavailable, match="another process writes"):
        EventWriter(tmp_path)
    writer.close()
    EventWriter(tmp_path).close()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from serving.events.writer import EventsUnavailable, EventWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = EventWriter(Path(sys.argv[1]))
writer.append([{"n": 0}])
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    writer.append([{"n": 1, "padding": "x" * 500}])
except EventsUnavailable as error:
    print(error.what)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append([{"n": 2}])
writer.close()
"""


def test_a_write_that_does_not_fit_leaves_nothing_and_the_next_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "arm")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
    assert "could not be recorded" in done.stdout
    assert numbers(tmp_path) == [0, 2]


def test_a_changed_segment_is_reported_by_line(tmp_path: Path) -> None:
    (tmp_path / "arm").mkdir()
    path = tmp_path / "arm" / "000001.jsonl"
    path.write_text('{"n": 1}\nnonsense\n')
    with pytest.raises(ClearwayError, match="line 2 is no event"):
        list(read_segment(path))
    os.rename(path, path.with_name("notes.jsonl"))
    assert closed_segments(tmp_path) == []
