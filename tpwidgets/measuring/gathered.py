"""What a measurement has gathered so far: filed as it comes, turned into figures when asked."""

import threading
from typing import TYPE_CHECKING, Any

from ..metrics.timeline import Timeline
from ..metrics.verdict import why
from ..samples import Sample, Window
from .meter import Live, Meter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..endpoints.prepared import Prepared
    from ..engine.budget import Purse, Tariff
    from ..metrics.slo import Limits


class Gathered:
    """What the supervising thread has gathered; others read it under the lock."""

    def __init__(
        self, conditions: dict[str, Any], purses: "Sequence[Purse]" = (),
        limits: "Limits | None" = None,
    ) -> None:  # fmt: skip
        self.lock = threading.Lock()
        self.samples: list[Sample] = []
        self.windows: list[Window] = []
        self.open_window: Window | None = None
        self.rows: list[dict[str, Any]] = []
        """The operating points so far. Another list each time they are computed."""
        self.live = Live()
        self.timeline = Timeline()
        self.errors = 0
        self.note = ""
        """What the first failed request said."""
        self.broken = ""
        """Why the sweep was broken off, if it was."""
        self.finished = False
        """Whether the workers said that all is done."""
        self.since_s = 0.0
        """When the level under way was asked for, s on the workers' clock: windows open later."""
        self.sections = 0
        """How many sections a ramp has; 0 without one."""
        self.limits = limits
        """What points are judged by, if there are limits."""
        self.purses = purses
        """What may be spent, where there is a limit."""
        self.left_out: tuple[str, ...] = ()
        """The levels that were not finished."""
        self._oldest_s: float | None = None
        """When the oldest request in flight was sent; None if none is."""
        self._tariffs: list[Tariff] = []
        self._spent_up: Purse | None = None
        self._billed = [0.0] * len(purses)
        self.found: dict[str, Any] = conditions
        self._meter = Meter()

    @property
    def e2e_s(self) -> float | None:
        """How long a request takes of late."""
        return self._meter.e2e_s

    @property
    def ending(self) -> bool:
        """Whether no further level is to be begun."""
        return bool(self.finished or self.broken or self._spent_up)

    @property
    def measured(self) -> bool:
        """Whether a level was counted to its end, with an answer in it: that is kept."""
        return any(
            sample.status == "ok" and window.start_s < sample.ended_s <= window.end_s
            for window in self.windows for sample in self.samples
        )  # fmt: skip

    def spent(self, purse: "Purse") -> float:
        """Return what probes and requests have taken of it."""
        return self._billed[self.purses.index(purse)] + purse.probes

    @property
    def cut_short(self) -> str:
        """Say that the run ended at a limit on what it may spend; "" if it did not."""
        purse = self._spent_up
        if purse is None:
            return ""
        used = purse.amount(self.spent(purse))
        said = f"Stopped at the {purse.name} of {purse.written}: {used} spent"
        if self.left_out:
            said += f"; level {self.left_out[0]} not finished"
        if self.left_out[1:]:
            said += f", {', '.join(self.left_out[1:])} not begun"
        return said

    def tariffs_of(self, prepared: "Prepared") -> "list[Tariff]":
        """Return what a request takes of each purse, by which is counted from now on."""
        self._tariffs = [purse.tariff(*prepared.most_tokens) for purse in self.purses]
        return self._tariffs

    @property
    def conditions(self) -> dict[str, Any]:
        """The conditions as far as they are known; ask under the lock."""
        conditions = dict(self.found)
        if self.samples:
            conditions["stamps"] = ", ".join(sorted({s.stamp for s in self.samples}))
        if self.note:
            conditions["failures"] = self.note
        for purse in self.purses:
            conditions[purse.setting] = purse.limit
            conditions[purse.spent] = round(self.spent(purse), purse.digits)
        ended = f"ended early: {self.broken}" if self.broken else self.cut_short
        if ended:
            conditions["notes"] = [*conditions.get("notes", []), ended]
        return conditions

    def take(self, message: dict[str, Any]) -> bool:
        """File what came; return whether it says that the level under way is over."""
        with self.lock:
            if "sample" in message:
                sample: Sample = message["sample"]
                self.samples.append(sample)
                for number, tariff in enumerate(self._tariffs):
                    self._billed[number] += tariff.bill(sample)
                if sample.status not in ("ok", "stopped"):
                    self.errors += 1
                    self.note = self.note or why(sample)
            elif "window" in message:
                window = Window(**message["window"])
                if self._counts(window):
                    self.windows.append(window)
                    self.timeline.close_window(window.start_s, window.end_s)
            elif "broken" in message:
                self.broken = message["broken"]
            elif "spent" in message:
                self._spent_up = self._spent_up or self.purses[message["spent"]]
            elif "idle" in message:
                self.finished = True
        return "level_over" in message

    def watch(self, live: dict[str, Any], *, steady: bool) -> None:
        """Take in what is going on right now; without a steady state the last point's figures stay.

        The last requests of a run, say, are no steady state.
        """
        window, self._oldest_s = live["window"], live["oldest_s"]
        if window and window["start_s"] < self.since_s:  # it has closed by now
            window = None
        self.open_window = Window(**window) if window else None
        if self.open_window is not None and not self._counts(self.open_window):
            self.open_window = window = None
        self.live = self._meter.read(live, self.samples, self.errors)
        whole = self.timeline.whole = self.live.whole
        self.timeline.read(
            live["now_s"], self._meter.items if whole else live["chunks"],
            1.0 if whole else self._meter.per_chunk, window["start_s"] if window else None,
        )  # fmt: skip
        if not steady:
            self.rest()

    def rest(self) -> None:
        """Let the last operating point's figures be the running ones."""
        if self.rows:
            self.live = Live.of_point(self.rows[-1], self.live)

    def compute_rows(self) -> dict[str, Any] | None:
        """Make the rows as far as they are known; return that of the window still open, if any."""
        from ..metrics.points import operating_point

        rows = [] if self.sections else self.rows[: max(0, len(self.windows) - 2)]
        # a window's last requests end after it: its row is made anew for a while
        closed = self.windows[len(rows) :]
        rows += [self._closed_row(w) for w in closed]
        point = None
        if self.open_window is not None and not self.sections:
            point = operating_point(
                self.samples, self.open_window, provisional=True, limits=self.limits
            )
            if point["n"]:
                rows.append(point)
        self.rows = rows
        return point

    def _counts(self, window: Window) -> bool:
        """Tell whether a window is a level's or a section's: what follows a ramp is not counted."""
        return not self.sections or window.ramp is not None

    @property
    def all_ended(self) -> bool:
        """Whether all that was sent amid a ramp has ended."""
        if len(self.windows) < self.sections:
            return False
        return self._oldest_s is None or self._oldest_s > self.windows[-1].end_s

    def _closed_row(self, window: Window) -> dict[str, Any]:
        """Make a closed window's row; amid a ramp it is of all that was sent, hence unfinished."""
        from ..metrics.points import operating_point

        row = operating_point(self.samples, window, limits=self.limits)
        oldest_s = self._oldest_s
        waits = window.ramp is not None and oldest_s is not None and oldest_s <= window.end_s
        return row | {"provisional": True} if waits else row

    def all_windows(self) -> list[Window]:
        """Return every window; a worker that died could not close its own: what it told stays."""
        window = self.open_window
        if window is not None and window.start_s not in [w.start_s for w in self.windows]:
            return [*self.windows, window]
        return list(self.windows)

    def end(self) -> None:
        """Take note that nothing more will come."""
        self.timeline.end(self._meter.per_chunk)
