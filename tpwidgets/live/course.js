/* What a board draws, as far as it has come: kept up to date by numbered changes, or by all of it
 * (packing.py says how they are packed). It knows nothing of charts.
 */
/* exported Course */

/** Where the time axis ends: at steps while a run goes on, so that it rarely moves. */
function axisEnd(seconds) {
  let step = 20;
  while (step < seconds) step *= step % 3 ? 1.5 : 4 / 3;
  return step;
}

/** The end of an axis of values: the least round number that is not below any of them. */
function roundUp(values) {
  const most = Math.max(0, ...values);
  const power = 10 ** Math.floor(Math.log10(most || 1));
  const steps = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
  return steps.map((step) => step * power).find((end) => end >= most);
}

/** What a board draws, as far as it has come. */
class Course {
  constructor(columns) {
    this.columns = columns;
    this.number = -1;
    this.rows = [];
    this.points = [];
    this.levels = [];
    this.settling = [];
    this.span = 0.5;
    this.ended = false;
    this.whole = false;
  }

  /** Take everything, or a change; return whether the change fits what is here. */
  take({ type, number, points, series }) {
    if (type === "change" && number !== this.number + 1) return false;
    this.number = number;
    if (points) this.#takeRows(points);
    if (series) this.#takeSeries(series);
    return true;
  }

  #takeRows({ n, rows }) {
    this.rows = this.rows.slice(0, n);
    for (const [i, values] of rows) {
      this.rows[i] = Object.fromEntries(this.columns.map((name, j) => [name, values[j] ?? null]));
    }
  }

  #takeSeries({ keep, points, levels, span_s, ended, whole }) {
    const fresh = points.map(([t, span, rate]) => ({ t, end: t + span, mid: t + span / 2, rate }));
    this.points = [...this.points.slice(0, keep), ...fresh];
    if (levels) {
      this.levels = levels.map(([t, level, from, to]) => ({ t, level, from, to }));
      this.span = span_s;
      this.ended = ended;
      this.whole = whole;
    }
    const counted = this.levels.filter(({ from }) => from != null)
      .map(({ from, to }) => [from, to ?? Infinity]);
    const tag = (point) => {
      const level = this.levels.findLast(({ t }) => t <= point.mid)?.level ?? null;
      const settling = !counted.some(([from, to]) => from <= point.mid && point.mid <= to);
      const same = point.level === level && point.settling === settling;
      return same ? point : { ...point, level, settling };
    };
    this.points = this.points.map((point, i) => (levels || i >= keep ? tag(point) : point));
    this.settling = [];
    let at = this.points[0]?.t;
    const last = this.points.at(-1)?.end;
    for (const [from, to] of [...counted, [last, last]]) {
      const end = Math.min(from, last);
      if (end > at) this.settling.push({ t: at, end });
      at = Math.max(at, Math.min(to, last));
    }
  }

  /** The current run's rows or, without any, all. */
  #current(rows = this.rows) {
    const current = rows.filter((row) => row.current !== false);
    return current.length ? current : rows;
  }

  /** Whether the current run's answers come whole (embeddings, say), as words.are_whole tells it. */
  get answersWhole() {
    const answered = this.#current(this.rows.filter((row) => row.n > 0));
    return answered.length > 0
      && answered.every((row) => row.ttft_p50_ms == null && row.items_per_s != null);
  }

  /** Whether the current run's levels are rates (open loop), as words.are_open tells it. */
  get open() {
    return this.rows.length > 0 && this.#current().every((row) => row.rate != null);
  }

  /** The column that tells how long people wait: p95 if all points have one, as cost.table has it. */
  get waiting() {
    const name = this.answersWhole ? "e2e" : "ttft";
    const current = this.rows.filter((row) => row.current !== false && row.n > 0);
    return `${name}_${current.every((row) => row[`${name}_p95_ms`] != null) ? "p95" : "p50"}_ms`;
  }

  /** The ticks: what was asked for, what was measured, where a fit ends; null keeps the chart's own. */
  ticks(planned, fit) {
    const alike = this.rows.filter((row) => (row.rate != null) === this.open);
    const measured = alike.map((row) => row.rate ?? row.concurrency);
    const ends = fit.length ? [1, Math.max(...fit.map(({ level }) => level))] : [];
    const levels = new Set([...planned, ...measured, ...ends].filter((x) => x > 0));
    return levels.size ? [...levels].sort((a, b) => a - b) : null;
  }

  /** The signals of the time series' chart. */
  get frame() {
    const last = this.points.at(-1)?.end ?? 0;
    return {
      until: this.ended && last ? last : axisEnd(last),
      top: roundUp(this.points.map(({ rate }) => rate)),
      span: this.span,
      begins: this.levels.map(({ t }) => t),
      names: this.levels.map(({ level }) => `${level}`),
      rows: this.points.length,
      whole: this.whole,
    };
  }
}
