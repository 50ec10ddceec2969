// The bars of one symbol, kind and interval, put together from the API's answers; no drawing.

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Final bars that each question asks for again: a late trade mostly revises one of the newest. */
const OVERLAP = 3;

/** Milliseconds of `100ms`, `1s`, `15m`; NaN for another text. */
export function intervalMs(text) {
  const match = /^(\d+)(ms|s|m|h|d)$/.exec(text);
  return match ? Number(match[1]) * UNITS[match[2]] : NaN;
}

/** One form for bars of trades and of quotes (whose candle is that of the mid). */
function uniform(bar, final) {
  return {
    ...bar,
    open: bar.open ?? bar.mid_open,
    high: bar.high ?? bar.mid_high,
    low: bar.low ?? bar.mid_low,
    close: bar.close ?? bar.mid_close,
    is_final: final,
  };
}

function same(one, other) {
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Array.isArray(one[name]) || Object.is(one[name], other[name]))
  );
}

export class Bars {
  #bars = new Map();
  #starts = [];

  /** At most so many bars are kept, the newest. */
  constructor(limit) {
    this.limit = limit;
  }

  /** Starts in ms, ascending. */
  get starts() {
    return this.#starts;
  }

  at(startMs) {
    return this.#bars.get(startMs);
  }

  /** All bars, oldest first. */
  list() {
    return this.#starts.map((start) => this.#bars.get(start));
  }

  get newest() {
    return this.#bars.get(this.#starts.at(-1));
  }

  get newestFinal() {
    const start = this.#starts.findLast((each) => this.#bars.get(each).is_final);
    return this.#bars.get(start);
  }

  /** From when to ask the next time, or undefined for everything. */
  since() {
    const finals = this.#starts.filter((start) => this.#bars.get(start).is_final);
    return finals.length < OVERLAP ? undefined : finals.at(-OVERLAP);
  }

  /**
   * Take an answer in. Returns the bars that are new or different, oldest first, and whether the
   * whole has to be drawn anew: `added` before the newest bar, or `removed`.
   */
  merge(answer) {
    const last = this.#starts.at(-1) ?? -Infinity;
    const changed = [];
    let anew = false;
    const take = (bar) => {
      const old = this.#bars.get(bar.start_ms);
      if (old && same(old, bar)) return;
      // An answer that was overtaken by a newer one takes nothing back.
      if (old?.is_final && (!bar.is_final || bar.revision < old.revision)) return;
      if (!old && bar.start_ms < last) anew = true;
      this.#bars.set(bar.start_ms, bar);
      changed.push(bar);
    };
    answer.bars.forEach((bar) => take(uniform(bar, true)));
    if (answer.forming) take(uniform(answer.forming, false));

    this.#starts = [...this.#bars.keys()].sort((one, other) => one - other);
    // Windows close in order: one that is not final before a final one will not become a bar.
    const final = this.newestFinal?.start_ms ?? -Infinity;
    const over = this.#starts.length - this.limit;
    this.#starts = this.#starts.filter((start, place) => {
      const keep = place >= over && (this.#bars.get(start).is_final || start > final);
      if (!keep) this.#bars.delete(start);
      // Those that fall out at the far end may stay drawn.
      if (!keep && place >= over) anew = true;
      return keep;
    });
    changed.sort((one, other) => one.start_ms - other.start_ms);
    return { changed: changed.filter((bar) => this.#bars.has(bar.start_ms)), anew };
  }
}
