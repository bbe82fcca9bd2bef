/* The live board: all charts of a dashboard, embedded once and then only fed.
 *
 * The build (hatch_build.py) joins this with course.js, costs.js and vega-embed, which it provides
 * as `vegaEmbed`. What is drawn comes from the `_snapshot` trait (reload, saved state) and in messages.
 */
/* global vegaEmbed, Course, Costs */

/** The TTFT chart's limits as charts.limit_params makes them; null: there is none. */
const LIMITS = (bounds) => Object.fromEntries(["ttft", "e2e"].flatMap((name) => (
  ["p50", "p95"].map((p) => [`limit_${name}_${p}_ms`, bounds[`${name}_${p}_ms`] ?? null]))));
/** Drawings are so far apart at least, and all charts share one: a frame costs more than a chart. */
const PAUSE_MS = 240;
const SVG = "http://www.w3.org/2000/svg";
const MARKS = {
  circle: "M8 4.2a3.8 3.8 0 1 0 .01 0z",
  diamond: "M8 3.2 12.8 8 8 12.8 3.2 8z",
  square: "M4.4 4.4h7.2v7.2H4.4z",
  cross: "M4.5 4.5l7 7m0-7l-7 7",
  "triangle-down": "M3.6 4.6h8.8L8 12.2z",
  "triangle-right": "M4.6 3.6v8.8L12.2 8z",
  band: "M1 4h14v8H1z",
  pale: "M1 8h14",
  line: "M1 8h14",
};

function element(tag, className, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function keyItem({ name, shape, hollow, color, dash }) {
  const item = element("span", `tp-key-item tp-key-${color && !dash ? "tone" : shape}`);
  const icon = document.createElementNS(SVG, "svg");
  if (color) icon.style[dash ? "stroke" : "fill"] = color;
  if (dash) icon.style.strokeDasharray = dash;
  icon.setAttribute("viewBox", "0 0 16 16");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", MARKS[shape]);
  if (hollow) path.setAttribute("class", "tp-hollow");
  icon.append(path);
  item.append(icon, name);
  return item;
}

/** The board's DOM, at its final size before anything is drawn: nothing will move. */
function build(charts, key) {
  const root = element("div", "tp-board", { role: "group", "aria-label": "Live charts" });
  const cards = new Map();
  const plots = charts.map((chart) => {
    const { description, height, padding } = chart.spec;
    const plot = element("div", "tp-plot", { role: "img", "aria-label": description });
    plot.dataset.chart = chart.name;
    plot.style.height = `${height + padding.top + padding.bottom}px`;
    if (!cards.has(chart.card)) cards.set(chart.card, element("div", `tp-card tp-card-${chart.card}`));
    const card = cards.get(chart.card);
    card.append(plot);
    card.hidden = Boolean(chart.shown_by || chart.folded);
    if (chart.key) {
      const meaning = element("div", "tp-key");
      meaning.append(...chart.key.map(keyItem));
      card.append(meaning);
    }
    const lines = element("div", "tp-key tp-key-prices");
    if (chart.lines) card.append(lines);
    const margin = padding.left + padding.right;
    return { chart, card, plot, lines, margin, view: null, width: 0, stale: true };
  });
  const grid = element("div", "tp-grid");
  grid.append(...cards.values());
  const footer = element("div", "tp-key");
  footer.append(...key.map(keyItem));
  root.append(grid, footer);
  return { root, plots };
}

/** The first painted background behind a node: hollow points are filled with it. */
function paper(node) {
  for (let at = node; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (colour && colour !== "transparent" && !/^rgba\(.*, 0\)$/.test(colour)) return colour;
  }
  return "white";
}

/** Colours and font as the host has them now; the stylesheet maps its variables to ours. */
function readTheme(root) {
  const style = getComputedStyle(root);
  const [red, green, blue] = (style.color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  const ink = (alpha) => `rgba(${red}, ${green}, ${blue}, ${alpha})`;
  const dark = 0.3 * red + 0.6 * green + 0.1 * blue > 128;
  return { ink, dark, paper: paper(root), font: style.fontFamily };
}

function vegaConfig({ ink, font }) {
  const text = { labelColor: ink(0.75), titleColor: ink(0.75) };
  return {
    font,
    background: "transparent",
    axis: { ...text, gridColor: ink(0.12), domainColor: ink(0.4), tickColor: ink(0.4) },
    legend: { labelColor: ink(0.85) },
    style: { heading: { color: ink(0.95) }, hint: { color: ink(0.65) }, key: { color: ink(0.85) } },
  };
}

/** Draw one chart into a new node, and put it in place of the old one when it is complete. */
async function embed(entry, theme, feed) {
  const { chart, plot, margin } = entry;
  const stage = element("div", "tp-stage");
  const width = plot.clientWidth;
  const { view, finalize } = await vegaEmbed(
    stage,
    { ...chart.spec, width: width - margin },
    {
      actions: false,
      renderer: "canvas",
      mode: "vega-lite",
      logLevel: 1, // errors; an empty chart would warn of its empty extents
      config: vegaConfig(theme),
      tooltip: { theme: theme.dark ? "dark" : "light" },
    },
  );
  const old = entry.finalize;
  Object.assign(entry, { view, finalize, width, given: [], told: new Map() });
  view.signal("paper", theme.paper);
  feed(entry);
  await view.runAsync();
  plot.replaceChildren(stage);
  // vega-embed describes its own node; the plot around it already does.
  stage.querySelectorAll("[role]").forEach((node) => node.setAttribute("aria-hidden", "true"));
  old?.();
}

/** Vega's changeset(), which the bundle doesn't hand out: a view makes one to insert with. */
function changes({ view, chart }) {
  let made;
  const pulse = (_, changeset) => { made = changeset; };
  Object.create(view, { pulse: { value: pulse } }).insert(chart.feed, []);
  return made;
}

/** Hand over the rows that a chart doesn't have yet, and take away those that are no more. */
function exchange(entry, rows) {
  const gone = [];
  const fresh = [];
  const given = rows.map((row, i) => {
    const had = entry.given[i];
    if (had?.row === row) return had;
    if (had) gone.push(had.copy);
    // Vega writes into the rows it is given, so each chart gets its own.
    const has = { row, copy: { ...row } };
    fresh.push(has.copy);
    return has;
  });
  gone.push(...entry.given.slice(rows.length).map(({ copy }) => copy));
  entry.given = given;
  if (!gone.length && !fresh.length) return;
  entry.view.change(entry.chart.feed, changes(entry).remove(gone).insert(fresh));
}

/** Say below a chart which line is which price, where there are several. */
function nameLines({ chart, lines }, prices) {
  const named = prices.length > 1 ? prices : [];
  lines.replaceChildren(...named.map(({ label, at }) => keyItem({ name: label, shape: "line", ...chart.lines[at] })));
}

/** Remember what a chart was given under a name; return whether that is something else now. */
function differs({ told }, name, value) {
  const text = JSON.stringify(value);
  if (told.get(name) === text) return false;
  told.set(name, text);
  return true;
}

/** Set a chart's signals. Those that stay make it compute nothing: an array is never itself. */
function assign(entry, values) {
  for (const [name, value] of Object.entries(values)) {
    if (differs(entry, name, value)) entry.view.signal(name, value);
  }
}

async function copyText(text, root) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No permission or no secure context: the old way.
    const box = element("textarea", "tp-copy", { "aria-hidden": "true" });
    box.value = text;
    root.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  }
}

function render({ model, el }) {
  const { root, plots } = build(model.get("_charts"), model.get("_key"));
  el.append(root);
  const course = new Course(model.get("_columns"));
  const snapshot = () => course.take({ type: "everything", ...model.get("_snapshot") });
  let asked = true;
  let theme = null;
  let themeKey = "";
  let frame = 0;
  let timer = 0;
  let drawn = -Infinity;
  let drawing = Promise.resolve();
  let gone = false;

  /** Hand everything a view shows to it; it is drawn by one run. */
  function feed(entry) {
    const { chart, view } = entry;
    const { rows, levels } = course;
    const set = (values) => assign(entry, values);
    const begun = rows.length || levels.length;
    set({ hint: begun ? "waiting for the first answers" : model.get("hint") });
    if (chart.feed === "series") {
      exchange(entry, course.points);
      if (differs(entry, "settling", course.settling)) {
        view.data("settling", course.settling.map((span) => ({ ...span })));
      }
      set({ ...course.frame, open: course.open });
      Object.assign(entry.plot.dataset, { points: course.points.length, since: course.points[0]?.t });
    } else {
      exchange(entry, rows);
      const asIs = course.ticks(model.get("levels"), model.get("fit"));
      if (asIs) set({ levels: asIs });
      const drawn = (row) => chart.needs.some((name) => row[name] != null);
      set({ rows: rows.filter((row) => drawn(row) || row.error_rate >= 1).length });
      set({ whole: course.answersWhole, open: course.open });
    }
    if (chart.name === "system_tps" && differs(entry, "fit", model.get("fit"))) {
      view.data("fit", model.get("fit").map((row) => ({ ...row })));
    }
    if (chart.card === "ttft") set(LIMITS(model.get("limits")));
    if (chart.prices) set({ ...costs.signals, waiting: course.waiting });
    if (chart.lines) nameLines(entry, costs.prices);
    root.dataset.change = course.number;
    entry.stale = false;
  }

  const costs = new Costs(model, () => schedule(({ prices }) => prices, true));

  const run = (work) => {
    drawing = drawing.then(() => (gone ? null : work())).catch((error) => console.error(error));
  };

  /** Give a place to charts that have something to show by now, and take it from those without. */
  function reveal() {
    let moved = false;
    for (const entry of plots.filter(({ chart }) => chart.shown_by || chart.folded)) {
      const told = (row) => row.current !== false && entry.chart.shown_by.some((name) => row[name] != null);
      const hidden = entry.chart.folded ? !costs.open : !course.rows.some(told);
      if (hidden === entry.card.hidden) continue;
      entry.card.hidden = hidden;
      moved = true;
      if (!hidden && !entry.view && theme) run(() => embed(entry, theme, feed));
    }
    if (moved) resize(); // its neighbours may have another width now
  }

  function draw() {
    frame = 0;
    drawn = performance.now();
    reveal();
    run(() =>
      Promise.all(
        plots.filter(({ card, view, stale }) => view && stale && !card.hidden).map((entry) => {
          feed(entry);
          return entry.view.runAsync();
        }),
      ),
    );
  }

  function soon() {
    timer = 0;
    frame ||= requestAnimationFrame(draw);
  }

  /** Many changes are one drawing, and none while the tab is hidden. */
  function schedule(concerned, atOnce = false) {
    plots.filter(({ chart }) => concerned(chart)).forEach((entry) => { entry.stale = true; });
    const pause = drawn + PAUSE_MS - performance.now();
    if (atOnce || pause <= 0) soon();
    else timer ||= setTimeout(soon, pause);
  }

  function embedAll() {
    if (!root.isConnected || !root.clientWidth) return;
    const now = readTheme(root);
    const key = JSON.stringify([now.ink(1), now.paper, now.font]);
    if (key === themeKey) return;
    [theme, themeKey] = [now, key];
    // one without a place is drawn anew when it gets one
    plots.filter(({ card }) => card.hidden).forEach((entry) => { entry.view = null; });
    const shown = plots.filter(({ card }) => !card.hidden);
    run(() => Promise.all(shown.map((entry) => embed(entry, theme, feed))));
  }

  function resize() {
    embedAll();
    run(() =>
      Promise.all(
        plots.map((entry) => {
          const width = entry.plot.clientWidth;
          if (!entry.view || !width || width === entry.width) return null;
          entry.width = width;
          return entry.view.width(width - entry.margin).runAsync();
        }),
      ),
    );
  }

  function ask() {
    if (!asked) model.send({ type: "ready" });
    asked = true;
  }

  async function onMessage(message) {
    if (message.type === "change" || message.type === "everything") {
      const known = message.number === course.number;
      if (message.type === "everything") asked = false;
      if (message.type === "everything" && known) return;
      if (!course.take(message)) ask();
      else schedule(({ feed: name }) => message[name]);
    } else if (message.type === "copy" && root.isConnected) {
      const ok = await copyText(message.text, root);
      model.send({ type: "copied", id: message.id, ok });
    }
  }

  function onSnapshot() {
    if (model.get("_snapshot").number === course.number) return;
    snapshot();
    schedule(() => true);
  }

  const themeSoon = () => requestAnimationFrame(embedAll);
  const resizes = new ResizeObserver(resize);
  const themes = new MutationObserver(themeSoon);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const onSetting = () => schedule(() => true, true);
  const heard = new Map([["msg:custom", onMessage], ["change:_snapshot", onSnapshot]]);
  ["levels", "hint", "limits", "fit"].forEach((name) => heard.set(`change:${name}`, onSetting));

  resizes.observe(root);
  for (const node of [document.body, document.documentElement]) themes.observe(node, { attributes: true });
  // A host's stylesheet can arrive after its attribute has changed.
  themes.observe(document.head, { childList: true });
  scheme.addEventListener("change", themeSoon);
  heard.forEach((handler, event) => model.on(event, handler));
  snapshot();
  reveal();
  costs.follow();
  model.send({ type: "ready" });

  return () => {
    gone = true;
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    resizes.disconnect();
    themes.disconnect();
    scheme.removeEventListener("change", themeSoon);
    heard.forEach((handler, event) => model.off(event, handler));
    costs.stop();
    // After a drawing under way: its views would otherwise be left over.
    drawing.finally(() => plots.forEach(({ finalize }) => finalize?.()));
    root.remove();
  };
}

export default { render };
