/* The live board: all charts of a dashboard, embedded once and then only fed.
 *
 * The build (hatch_build.py) joins this with vega-embed, which it provides as `vegaEmbed`.
 * Rows come as {cols, rows}: from the `_snapshot` trait (reload, saved state) and in messages.
 */
/* global vegaEmbed */

const PRICE = [
  "price_basis", "price_input", "price_cached_input", "price_output", "price_hour", "replicas",
  "utilisation",
];
const SVG = "http://www.w3.org/2000/svg";
const MARKS = {
  circle: "M8 4.2a3.8 3.8 0 1 0 .01 0z",
  diamond: "M8 3.2 12.8 8 8 12.8 3.2 8z",
  square: "M4.4 4.4h7.2v7.2H4.4z",
  cross: "M4.5 4.5l7 7m0-7l-7 7",
  band: "M1 4h14v8H1z",
  pale: "M1 8h14",
};

function element(tag, className, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function keyItem({ name, shape, hollow }) {
  const item = element("span", `tp-key-item tp-key-${shape}`);
  const icon = document.createElementNS(SVG, "svg");
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
    cards.get(chart.card).append(plot);
    return { chart, plot, margin: padding.left + padding.right, view: null, width: 0 };
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
    style: { heading: { color: ink(0.95) }, hint: { color: ink(0.65) } },
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
  view.signal("paper", theme.paper);
  feed(entry, view);
  await view.runAsync();
  const old = entry.finalize;
  Object.assign(entry, { view, finalize, width });
  plot.replaceChildren(stage);
  // vega-embed describes its own node; the plot around it already does.
  stage.querySelectorAll("[role]").forEach((node) => node.setAttribute("aria-hidden", "true"));
  old?.();
}

function unpack({ cols = [], rows = [] } = {}) {
  return rows.map((row) => Object.fromEntries(cols.map((name, i) => [name, row[i]])));
}

/** The ticks: what was asked for and what was measured; null keeps the chart's own. */
function ticks(planned, rows) {
  const levels = new Set([...planned, ...rows.map((row) => row.concurrency)].filter((x) => x > 0));
  return levels.size ? [...levels].sort((a, b) => a - b) : null;
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
  let rows = unpack(model.get("_snapshot"));
  let theme = null;
  let themeKey = "";
  let frame = 0;
  let drawing = Promise.resolve();
  let gone = false;

  /** Hand everything a view shows to it; it is drawn by one run. */
  function feed({ chart }, view) {
    const levels = ticks(model.get("levels"), rows);
    if (levels) view.signal("levels", levels);
    view.signal("rows", rows.filter((row) => row[chart.needs] != null || row.error_rate >= 1).length);
    view.signal("hint", rows.length ? "waiting for the first answers" : model.get("hint"));
    if (chart.card === "cost") PRICE.forEach((name) => view.signal(name, model.get(name)));
    // Vega writes into the rows it is given, so each view gets its own.
    view.data("points", rows.map((row) => ({ ...row })));
  }

  const run = (work) => {
    drawing = drawing.then(() => (gone ? null : work())).catch((error) => console.error(error));
  };

  function draw() {
    frame = 0;
    run(() =>
      Promise.all(
        plots.filter(({ view }) => view).map((entry) => {
          feed(entry, entry.view);
          return entry.view.runAsync();
        }),
      ),
    );
  }

  /** Many changes in one frame are one drawing, and none while the tab is hidden. */
  function schedule() {
    frame ||= requestAnimationFrame(draw);
  }

  function embedAll() {
    if (!root.isConnected || !root.clientWidth) return;
    const now = readTheme(root);
    const key = JSON.stringify([now.ink(1), now.paper, now.font]);
    if (key === themeKey) return;
    [theme, themeKey] = [now, key];
    run(() => Promise.all(plots.map((entry) => embed(entry, theme, feed))));
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

  async function onMessage(message) {
    if (message.type === "rows") {
      rows = unpack(message);
      schedule();
    } else if (message.type === "copy" && root.isConnected) {
      const ok = await copyText(message.text, root);
      model.send({ type: "copied", id: message.id, ok });
    }
  }

  function onSnapshot() {
    rows = unpack(model.get("_snapshot"));
    schedule();
  }

  const themeSoon = () => requestAnimationFrame(embedAll);
  const resizes = new ResizeObserver(resize);
  const themes = new MutationObserver(themeSoon);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const drawn = ["levels", "hint", ...PRICE].map((name) => `change:${name}`);

  resizes.observe(root);
  for (const node of [document.body, document.documentElement]) themes.observe(node, { attributes: true });
  // A host's stylesheet can arrive after its attribute has changed.
  themes.observe(document.head, { childList: true });
  scheme.addEventListener("change", themeSoon);
  model.on("msg:custom", onMessage);
  model.on("change:_snapshot", onSnapshot);
  drawn.forEach((event) => model.on(event, schedule));
  model.send({ type: "ready" });

  return () => {
    gone = true;
    cancelAnimationFrame(frame);
    resizes.disconnect();
    themes.disconnect();
    scheme.removeEventListener("change", themeSoon);
    model.off("msg:custom", onMessage);
    model.off("change:_snapshot", onSnapshot);
    drawn.forEach((event) => model.off(event, schedule));
    // After a drawing under way: its views would otherwise be left over.
    drawing.finally(() => plots.forEach(({ finalize }) => finalize?.()));
    root.remove();
  };
}

export default { render };
