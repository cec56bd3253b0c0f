"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of what is tested. Each test keeps its own number of examples.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


class Failures:
    """Says at once which test failed: a run that hangs behind it, and is ended from outside, has no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"{report.nodeid} failed in its {report.when}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Failures(config))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """On CI a skipped test is a failure: what it needs is to be installed there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and (skipped := reporter.stats.get("skipped")):
        reporter.ensure_newline()
        reporter.write_line(f"{len(skipped)} skipped, and on CI nothing may be: {', '.join(report.nodeid for report in skipped)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
