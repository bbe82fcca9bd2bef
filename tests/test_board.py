"""The live board in a real browser, on a page with a stub model instead of a kernel."""

import pytest
from board_page import CARD, feed, picture, settle, tell, tooltip
from board_page import show as show
from drawn import point

from tpwidgets.charts.fitted import fitted_rows
from tpwidgets.cost.at_point import usd_per_1m_output
from tpwidgets.cost.price import Price
from tpwidgets.live import Board
from tpwidgets.metrics.scaling import fit
from tpwidgets.metrics.timeline import Timeline

pytestmark = pytest.mark.browser

# A plot is blank when all of its pixels are alike.
BLANK = """() => [...document.querySelectorAll('.tp-card:not([hidden]) .tp-plot')]
  .filter((plot) => {
  const canvas = plot.querySelector('canvas');
  if (!canvas) return true;
  const data = new Uint32Array(
    canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return data.every((pixel) => pixel === data[0]);
}).map((plot) => plot.dataset.chart)"""


def test_an_empty_board_looks_intended(show):
    page = show()
    assert page.evaluate(BLANK) == []
    assert page.evaluate("sent") == [{"type": "ready"}]
    *curves, course = [box.bounding_box() for box in page.locator(CARD).all()]
    assert len({(box["y"], box["height"]) for box in curves}) == 1
    assert course["width"] == pytest.approx(curves[2]["x"] + curves[2]["width"] - curves[0]["x"])
    labels = [plot.get_attribute("aria-label") for plot in page.get_by_role("img").all()]
    assert len(labels) == 5
    assert all("level" in label for label in labels)
    assert page.get_by_role("group", name="Live charts").count() == 1
    assert "too few requests to be firm" in page.locator(".tp-board > .tp-key").inner_text()


@pytest.mark.parametrize(("width", "columns"), [(1400, 3), (932, 3), (700, 2), (420, 1)])
def test_cards_stand_side_by_side_where_there_is_room(show, width, columns):
    page = show(width=width)
    feed(page, [point(level) for level in (1, 4, 16)])
    boxes = [box.bounding_box() for box in page.locator(CARD).all()]
    assert len({box["x"] for box in boxes}) == columns
    for plot in page.locator(f"{CARD} .tp-plot").all():
        outer, canvas = plot.bounding_box(), plot.locator("canvas").bounding_box()
        assert canvas["width"] == pytest.approx(outer["width"], abs=1)
        assert canvas["height"] == pytest.approx(outer["height"], abs=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_charts_follow_the_width(show):
    page = show()
    page.set_viewport_size({"width": 1000, "height": 900})
    settle(page)
    for plot in page.locator(f"{CARD} .tp-plot").all():
        width = plot.locator("canvas").bounding_box()["width"]
        assert width == pytest.approx(plot.bounding_box()["width"], abs=1)
    assert page.evaluate(BLANK) == []


def test_sixty_updates_keep_the_canvases_and_never_blank_them(show):
    page = show()
    page.evaluate(
        f"""() => {{
          window.first = [...document.querySelectorAll('.tp-plot canvas')];
          const blank = {BLANK};
          window.frames = 0;
          window.blanks = [];
          window.moved = [];
          const place = () => [...document.querySelectorAll('.tp-plot')].map((plot) => {{
            const box = plot.getBoundingClientRect();
            return [box.x, box.y, box.width, box.height].join();
          }}).join(';');
          const start = place();
          const look = () => {{
            window.frames += 1;
            window.blanks.push(...blank());
            if (place() !== start) window.moved.push(place());
            requestAnimationFrame(look);
          }};
          requestAnimationFrame(look);
        }}"""
    )
    before = picture(page, "ttft")
    rows = [point(2**i, run="run 1", current=False) for i in range(6)]
    board, messages, timeline = Board(), [], Timeline()
    board.send = messages.append
    timeline.begin_level(1)
    for tick in range(60):
        timeline.read(tick / 2, 40 * tick * tick, 1.0, None)
        levels = range(tick // 10 + 1)
        now = [point(2**i, n=tick, provisional=i == tick // 10) for i in levels]
        board.update([*rows, *now], timeline)
    assert len(messages) == 60
    page.evaluate(
        """async (messages) => {
          for (const message of messages) {
            model.emit('msg:custom', message);
            await new Promise((resolve) => setTimeout(resolve, 30));
          }
        }""",
        messages,
    )
    settle(page)
    assert picture(page, "ttft") != before
    now = "[...document.querySelectorAll('.tp-plot canvas')].every((c, i) => c === first[i])"
    assert page.evaluate(now)
    assert page.evaluate("frames") > 20
    assert page.evaluate("blanks") == []
    assert page.evaluate("moved") == []
    assert len(page.evaluate("sent")) == 1, "the view answers no update"


def test_a_price_moves_the_costs_at_once_and_by_the_formula(show):
    page = show()
    row = point(1)
    feed(page, [row, point(4)])
    other, before = picture(page, "ttft"), picture(page, "cost")
    page.evaluate(
        """() => {
          fill({basis: {index: 1}, hour: {value: 4}, cached: {value: ''}, open: {value: false}});
          const price = {hourly: 'IPY_MODEL_basis', hour: 'IPY_MODEL_hour', replicas: 3,
            busy_pct: 50, output: 2, input: 0.5, cached_input: 'IPY_MODEL_cached', name: ''};
          window.rows = [price, {name: 'an API', hourly: 0, output: 9, input: 1}];
          model.set('costs', {prices: [price], per: 0, open: 'IPY_MODEL_open'});
        }"""
    )
    for filled, price in (
        ({}, Price.per_hour(4.0, replicas=3, utilisation=0.5)),
        ({"hour": {"value": 8}}, Price.per_hour(8.0, replicas=3, utilisation=0.5)),
        ({"basis": {"index": 0}}, Price.per_token(2.0, input=0.5)),
        ({"cached": {"value": "0.1"}}, Price.per_token(2.0, input=0.5, cached_input=0.1)),
    ):
        page.evaluate("(filled) => fill(filled)", filled)
        settle(page)
        assert picture(page, "cost") != before
        expected = usd_per_1m_output(row, price)[0]
        assert f"${expected:,.3g} per 1M output tokens" in tooltip(page, "cost")
        before = picture(page, "cost")
    page.mouse.move(0, 0)

    # several prices, and the part on cost, which costs nothing until it is opened
    folded = page.locator(".tp-card-waiting, .tp-card-break-even")
    assert folded.locator("canvas").count() == 0
    page.evaluate("fill({open: {value: true}, basis: {index: 1}}); costs = {prices: rows, per: 0, "
                  "open: 'IPY_MODEL_open'}; model.set('costs', costs)")  # fmt: skip
    page.wait_for_function("document.querySelectorAll('.tp-plot canvas').length === 7")
    settle(page)
    assert page.evaluate(BLANK) == []
    key = page.locator(".tp-card-cost .tp-key-prices").inner_text()
    assert key.split("\n") == ["$8.00 per hour × 3, busy 50 %", "an API"]
    drawn = picture(page, "break_even"), picture(page, "waiting")
    page.evaluate("fill({hour: {value: 6}})")
    settle(page)
    assert all(a != b for a, b in zip((picture(page, "break_even"), picture(page, "waiting")),
                                      drawn, strict=True))  # fmt: skip
    page.evaluate("fill({open: {value: false}})")
    settle(page)
    assert [card.is_visible() for card in folded.all()] == [False, False]
    assert picture(page, "ttft") == other
    assert len(page.evaluate("sent")) == 1, "no way through the kernel"
    page.evaluate("unmount()")
    assert page.evaluate("Object.values(fields).map((field) => field.listening())") == [0] * 4


def test_a_reloaded_page_shows_the_snapshot(show):
    board = Board()
    board.update([point(1), point(4)])
    page = show(board)
    assert "TTFT p" in tooltip(page, "ttft")


def test_a_view_that_missed_a_message_asks_for_everything(show):
    board, messages = Board(levels=[1, 2]), []
    board.send = messages.append
    page = show(board)
    for n in (11, 12, 13, 14):
        board.update([point(1, n=n)])
    tell(page, messages[0], messages[1])
    assert "12, failed" in tooltip(page, "system_tps")
    tell(page, messages[3])
    assert page.evaluate("sent") == [{"type": "ready"}], "it has asked at its beginning"
    tell(page, {"type": "everything", **board._everything})
    assert "14, failed" in tooltip(page, "system_tps")
    board.update([point(1, n=15)])
    board.update([point(1, n=16)])
    tell(page, messages[-1], messages[-1])
    assert page.evaluate("sent") == [{"type": "ready"}] * 2, "it asks once"
    assert "14, failed" in tooltip(page, "system_tps"), "nothing is made up meanwhile"


def test_a_hidden_tab_draws_once_when_it_is_seen_again(show):
    board, messages, timeline = Board(levels=[1, 2]), [], Timeline()
    board.send = messages.append
    page = show(board)
    # what a browser does with a hidden page: no frames
    page.evaluate(
        """() => {
          window.held = [];
          window.frames = requestAnimationFrame.bind(window);
          window.requestAnimationFrame = (callback) => held.push(callback);
        }"""
    )
    before = picture(page, "ttft"), picture(page, "timeline")
    for n in range(30):
        timeline.read(n / 2, 40 * n, 1.0, None)
        board.update([point(1, n=n)], timeline)
        page.evaluate("(message) => model.emit('msg:custom', message)", messages[-1])
    page.wait_for_timeout(300)
    assert (picture(page, "ttft"), picture(page, "timeline")) == before
    assert page.evaluate("held.length") == 1
    page.evaluate("requestAnimationFrame = frames; held.forEach((callback) => callback())")
    settle(page)
    assert "29, failed" in tooltip(page, "system_tps")
    assert page.locator("[data-chart=timeline]").get_attribute("data-points") == "29"
    assert len(page.evaluate("sent")) == 1, "nothing was missed"


def test_two_views_of_one_board(show):
    board, messages, timeline = Board(levels=[1, 2]), [], Timeline()
    board.send = messages.append
    page = show(board)
    for n in range(6):
        timeline.read(n / 2, 40 * n, 1.0, None)
        board.update([point(1, n=n)], timeline)
    tell(page, *messages)
    page.evaluate("void mount()")  # knows what the model knew when the page was loaded: nothing
    page.wait_for_function("document.querySelectorAll('.tp-plot canvas').length === 10")
    assert page.evaluate("sent.length") == 2
    tell(page, {"type": "everything", **board._everything})
    board.update([point(1, n=77)], timeline)
    tell(page, messages[-1])
    page.evaluate("unmount()")
    courses = page.locator("[data-chart=timeline]")
    assert courses.count() == 1
    assert courses.get_attribute("data-points") == "5"
    assert "77, failed" in tooltip(page, "system_tps")
    assert page.evaluate("sent.length") == 2


def test_what_ttft_consists_of_has_a_place_only_where_it_is_told(show):
    board, messages = Board(), []
    board.send = messages.append
    page = show(board)
    card = page.locator(".tp-card-breakdown")
    height = page.locator(".tp-board").bounding_box()["height"]
    board.update([point(1), point(4)])
    tell(page, messages[-1])
    assert not card.is_visible()
    assert page.locator(".tp-board").bounding_box()["height"] == height
    parts = {"ttft_mean_ms": 300.0, "ttft_server_prefill_mean_ms": 200.0, "ttft_rest_mean_ms": 100}
    board.update([point(1, **parts), point(4)])
    tell(page, messages[-1])
    page.wait_for_function("document.querySelectorAll('.tp-plot canvas').length === 6")
    settle(page)
    assert page.evaluate(BLANK) == []
    assert "server prefill" in card.inner_text()
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    settle(page)
    board.update([point(1)])
    tell(page, messages[-1])
    assert not card.is_visible()


def test_an_open_loop_has_a_chart_more_and_its_neighbours_keep_their_place(show):
    page = show(Board(levels=[1, 4]), width=1240)
    card, course = page.locator(".tp-card-rates"), page.locator("[data-chart=timeline]")
    wide = course.bounding_box()["width"]
    due = {"ttft_from_scheduled_p95_ms": 900.0}
    feed(page, [point(3, rate=1.0, rps=0.9, sent_rps=1.0, **due), point(4, rate=4.0, **due)])
    page.wait_for_function("document.querySelectorAll('.tp-plot canvas').length === 6")
    settle(page)
    assert page.evaluate(BLANK) == []
    assert "0.9 requests/s answered, 1 sent, 1 asked" in tooltip(page, "rates")
    told = tooltip(page, "ttft")
    assert "from the scheduled time 900 ms" in told
    boxes = card.bounding_box(), page.locator(".tp-card-timeline").bounding_box()
    assert boxes[0]["y"] == boxes[1]["y"], "side by side"
    width = course.locator("canvas").bounding_box()["width"]
    assert width == pytest.approx(course.bounding_box()["width"], abs=1)
    assert width < wide
    feed(page, [point(1), point(4)])
    settle(page)
    assert not card.is_visible()
    assert course.locator("canvas").bounding_box()["width"] == pytest.approx(wide, abs=1)


def test_answers_that_come_whole_are_drawn_as_items(show):
    timeline = Timeline()
    timeline.whole = True
    for tick in range(20):
        timeline.read(tick / 2, 80 * tick, 1.0, None)
    timeline.end(None)
    vectors = point(1, run="run 3", n=40, output_tps=0.0, ttft_p50_ms=None, items_per_s=160.0)
    page = show(Board(levels=[1, 2]))
    feed(page, [point(1, current=False), vectors], timeline)
    assert "160 items/s" in tooltip(page, "system_tps")
    assert "160 items/s" in tooltip(page, "timeline")


def test_planned_levels_hold_the_axis_still(show):
    page = show(Board(levels=[1, 2, 4, 8]))
    feed(page, [point(1)])
    one = page.evaluate("document.querySelector('[data-chart=system_tps] canvas').width")
    assert tooltip(page, "system_tps").startswith("run 2: concurrency 1")
    page.evaluate("model.set('levels', [1, 2, 4, 8, 64])")
    settle(page)
    assert page.evaluate("document.querySelector('[data-chart=system_tps] canvas').width") == one
    measured = picture(page, "system_tps")
    law = fit(point(level) for level in (1, 2, 4, 8, 32))
    page.evaluate("(rows) => model.set('fit', rows)", fitted_rows(law))
    settle(page)
    assert picture(page, "system_tps") != measured
    page.evaluate("model.set('fit', [])")
    settle(page)
    assert picture(page, "system_tps") == measured


def test_a_theme_switch_redraws_without_a_blank(show):
    page = show()
    feed(page, [point(1), point(4)])
    light = picture(page, "ttft")
    page.evaluate(
        f"""() => {{
          window.blanks = [];
          const blank = {BLANK};
          const look = () => {{ window.blanks.push(...blank()); requestAnimationFrame(look); }};
          look();
          document.body.dataset.jpThemeLight = 'false';
        }}"""
    )
    page.wait_for_function(
        "(light) => document.querySelector('[data-chart=ttft] canvas').toDataURL() !== light",
        arg=light,
    )
    settle(page)
    assert page.evaluate("blanks") == []
    assert page.locator(".tp-plot canvas").count() == 5
    assert tooltip(page, "ttft").startswith("run 2: concurrency 1"), "the rows are still there"
    dark = picture(page, "ttft")
    page.mouse.move(0, 0)
    page.evaluate("document.body.dataset.unrelated = 'x'")
    settle(page)
    assert picture(page, "ttft") == dark


def test_copy_answers(show):
    page = show()
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.evaluate("model.emit('msg:custom', {type: 'copy', id: 7, text: 'a, b'})")
    settle(page)
    assert page.evaluate("copied") == "a, b"
    assert page.evaluate("sent.at(-1)") == {"type": "copied", "id": 7, "ok": True}


def test_copy_falls_back_and_says_whether_it_worked(show):
    page = show()
    page.evaluate(
        """() => {
          navigator.clipboard.writeText = async () => { throw new Error('denied'); };
          document.execCommand = () => { window.copied = getSelection().toString(); return false; };
        }"""
    )
    page.evaluate("model.emit('msg:custom', {type: 'copy', id: 8, text: 'a, b'})")
    settle(page)
    assert page.evaluate("sent.at(-1)") == {"type": "copied", "id": 8, "ok": False}
    assert page.locator("textarea").count() == 0


def test_cleanup_leaves_nothing(show):
    page = show()
    feed(page, [point(1)])
    page.evaluate("unmount()")
    settle(page)
    assert page.evaluate("model.listening()") == 0
    assert page.locator(".tp-board, canvas").count() == 0
    feed(page, [point(4)])  # nobody listens, nothing breaks


def test_a_board_shown_later_draws_when_it_is_seen(show):
    page = show()
    page.evaluate("unmount(); document.getElementById('out').style.display = 'none'; void mount()")
    feed(page, [point(1), point(4)])
    assert page.locator("canvas").count() == 0
    page.evaluate("document.getElementById('out').style.display = ''")
    page.wait_for_function("document.querySelectorAll('.tp-plot canvas').length === 5")
    settle(page)
    assert "TTFT p" in tooltip(page, "ttft")
