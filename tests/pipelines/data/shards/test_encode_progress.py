"""Messages of an encoding run about its progress."""

import logging
import re

import pytest

from latentune.pipelines.data.shards.progress import EncodeProgress, ProgressReport


def test_a_report_counts_and_calls_back():
    seen = []
    report = ProgressReport("encode", 9, num_failed=2, callback=lambda state: seen.append(state.items_done))
    report.advance(3, audio_s=7200.0, failed=1)
    report.advance(1)
    assert seen == [3, 4]
    state = report.state
    assert (state.items_done, state.items_total, state.num_failed, state.audio_s) == (4, 9, 3, 7200.0)
    assert state.elapsed_s >= 0
    assert EncodeProgress(**{**vars(state), "elapsed_s": 3600.0}).audio_hours_per_hour == 2.0
    assert EncodeProgress(**{**vars(state), "elapsed_s": 0.0}).audio_hours_per_hour == 0.0


@pytest.mark.parametrize(("log_every_s", "lines"), [(1e-9, 3), (1e9, 0)])
def test_a_report_logs_at_intervals(caplog, log_every_s, lines):
    report = ProgressReport("encode", 3, log_every_s=log_every_s)
    with caplog.at_level(logging.INFO, "latentune.job"):
        for _ in range(3):
            report.advance(1, audio_s=1.0)
    assert len(caplog.messages) == lines
    if lines:
        assert re.fullmatch(r"encode: 3 of 3, 0 left out, [\d.]+ h of audio per hour", caplog.messages[-1])


def test_a_run_describes_itself_and_then_says_that_it_is_complete(encode, caplog):
    with caplog.at_level(logging.INFO, "latentune.job"):
        summary = encode(log_every_s=1e-9)
    text = "\n".join(caplog.messages)
    assert not summary.already_complete
    assert re.search(
        r"encoding 12 items \(0\.00\d h of audio\) with \w+ \([\d,]+ parameters\), device cpu, float32", text
    )
    assert re.search(r"device cpu, float32; 0 of \d+ shards are already in", text)
    assert "encode: 12 of 12, 6 left out" in text
    caplog.clear()
    with caplog.at_level(logging.INFO, "latentune.job"):
        again = encode()
    assert again.already_complete
    assert again.to_dict()["already_complete"]
    assert "already complete: all" in "\n".join(caplog.messages)


def test_lines_without_an_interval_are_refused(encode):
    with pytest.raises(ValueError, match="log_every_s must be above 0"):
        encode(log_every_s=0.0)
