/* What the cost charts compute with: prices, what cost is told per, a volume. Most of it stands in
 * other widgets' fields, which are read here, so that a price that is moved moves the charts at
 * once. It knows nothing of charts.
 */
/* exported Costs */

const REFERENCE = /^IPY_MODEL_/;

/** A number of dollars as it was typed; null for nothing, and for what is none. */
function amount(typed) {
  const value = typed == null || `${typed}`.trim() === "" ? NaN : Number(typed);
  return Number.isFinite(value) && value >= 0 ? value : null;
}

/** A price as lists have it: $2.50, $0.125. */
function dollars(value) {
  const cents = Math.abs(value - Number(value.toFixed(2))) < 1e-9;
  return `$${value === 0 ? 0 : cents ? value.toFixed(2) : Number(value.toPrecision(6))}`;
}

/** Name a price for a legend, as charts.pricing does. */
function label({ name, hourly, output, input, hour, replicas, busy_pct, off_pct }) {
  if (name) return name;
  const off = off_pct ? `, ${off_pct} % off` : "";
  if (!hourly) return `${dollars(output)} out, ${dollars(input)} in per 1M${off}`;
  const many = replicas === 1 ? "" : ` × ${replicas}`;
  return `${dollars(hour)} per hour${many}${busy_pct < 100 ? `, busy ${busy_pct} %` : ""}`;
}

/** The prices, and how they are to be looked at. */
class Costs {
  #fields = new Map();
  #given = {};

  constructor(model, changed) {
    this.model = model;
    this.changed = changed;
    this.follow = this.follow.bind(this);
    model.on("change:costs", this.follow);
  }

  /** Look up the widgets that stand for values, and listen to them instead of the former ones. */
  async follow() {
    const given = this.model.get("costs");
    const names = new Set(JSON.stringify(given).match(/IPY_MODEL_[^"]+/g));
    const found = await Promise.all([...names].map(async (name) => (
      [name, await this.model.widget_manager.get_model(name.replace(REFERENCE, ""))])));
    if (given !== this.model.get("costs")) return; // others came meanwhile
    this.#listen("off");
    this.#fields = new Map(found);
    this.#given = given;
    this.#listen("on");
    this.changed();
  }

  #listen(how) {
    // of a menu, the browser knows which entry is chosen, but not what that stands for
    for (const field of this.#fields.values()) {
      for (const name of ["value", "index"]) field[how](`change:${name}`, this.changed);
    }
  }

  /** Everything as it stands now. */
  get #now() {
    return JSON.parse(JSON.stringify(this.#given), (_, value) => {
      const field = this.#fields.get(value);
      return field ? field.get("value") ?? field.get("index") : value;
    });
  }

  /** The prices that are known: 0 is one only where it is said to be free, not in untouched fields. */
  get prices() {
    const rows = (this.#now.prices ?? []).map((row, at) => {
      const price = { output: 0, input: 0, hour: 0, replicas: 1, busy_pct: 100, off_pct: 0, ...row };
      price.hourly = Number(price.hourly ?? 0);
      for (const name of ["cached_input", "reasoning"]) price[name] = amount(price[name]);
      // what was typed counts at once, though the kernel has not yet said that it has no tiers
      const listed = ({ output, input }) => output === price.output && input === price.input;
      const tiers = (price.tiers ?? []).some(listed) ? price.tiers : [];
      return { ...price, tiers, at, label: label(price) };
    });
    return rows.filter(({ free, hourly, hour, output, input }) => (
      free || (hourly ? hour : output || input) > 0));
  }

  /** The signals that cost charts read, but for how long people wait. */
  get signals() {
    const { per = 0, volume = 0 } = this.#now;
    return { prices: this.prices, per, volume: 1e6 * volume };
  }

  /** Whether the part on cost is opened. */
  get open() {
    return Boolean(this.#now.open);
  }

  stop() {
    this.#listen("off");
    this.model.off("change:costs", this.follow);
  }
}
