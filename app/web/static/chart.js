// The drawing: candles, volume and lines by TradingView's Lightweight Charts (LightweightCharts is
// its global). Times are seconds since the epoch, drawn in UTC.

import { utc } from "./common.js";

const SHOWN_AT_FIRST = 120;
const ROOM_AT_RIGHT = 6;
const VOLUME_SHARE = 0.2;
const COLOURS = ["text", "muted", "line", "surface", "up", "down", "accent", "second"];

/** The theme's colours as the browser computes them. */
function palette(parent) {
  const probe = document.createElement("span");
  parent.append(probe);
  const found = {};
  for (const name of COLOURS) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

const faint = (colour) => colour.replace("rgb(", "rgba(").replace(")", ", 0.35)");

/** Digits after the point that the prices have; a mid is a double, so 73.95 may be 73.94999999999999. */
function decimals(bars) {
  let most = 2;
  for (const bar of bars.slice(-50)) {
    for (const value of [bar.open, bar.high, bar.low, bar.close]) {
      const text = String(Number(value.toPrecision(12)));
      most = Math.max(most, (text.split(".")[1] ?? "").length);
    }
  }
  return Math.min(most, 8);
}

export class Chart {
  #chart;
  #candles;
  #volume;
  #lines = {};
  #colours;
  #exact = false;

  /** `onHover(startMs or null)` is called as the crosshair moves. */
  constructor(container, onHover) {
    const library = globalThis.LightweightCharts;
    this.#chart = library.createChart(container, {
      autoSize: true,
      // Named in words at the foot of the page; the logo would need a style of its own.
      layout: { attributionLogo: false, fontFamily: getComputedStyle(document.body).fontFamily },
      localization: { timeFormatter: (seconds) => utc(Math.round(seconds * 1000), this.#exact) },
      timeScale: { timeVisible: true, secondsVisible: true, rightOffset: ROOM_AT_RIGHT },
      crosshair: { mode: library.CrosshairMode.Normal },
    });
    this.#volume = this.#chart.addSeries(library.HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volume.priceScale().applyOptions({ scaleMargins: { top: 1 - VOLUME_SHARE, bottom: 0 } });
    this.#candles = this.#chart.addSeries(library.CandlestickSeries, {});
    this.#candles
      .priceScale()
      .applyOptions({ scaleMargins: { top: 0.08, bottom: VOLUME_SHARE + 0.05 } });
    for (const name of ["vwap", "bid_close", "ask_close"]) {
      this.#lines[name] = this.#chart.addSeries(library.LineSeries, {
        lineWidth: 1,
        lastValueVisible: false,
        priceLineVisible: false,
        crosshairMarkerVisible: false,
      });
    }
    this.#chart.subscribeCrosshairMove(({ time }) =>
      onHover(time === undefined ? null : Math.round(time * 1000)),
    );
    container.addEventListener("keydown", (event) => this.#key(event));
    this.paint(container);
  }

  /** Take the theme's colours; bars are drawn anew by `draw`. */
  paint(container) {
    const colours = (this.#colours = palette(container));
    this.#chart.applyOptions({
      layout: { background: { color: colours.surface }, textColor: colours.muted },
      grid: { vertLines: { color: colours.line }, horzLines: { color: colours.line } },
      rightPriceScale: { borderColor: colours.line },
      timeScale: { borderColor: colours.line },
    });
    this.#candles.applyOptions({
      upColor: colours.up,
      downColor: colours.down,
      borderUpColor: colours.up,
      borderDownColor: colours.down,
      wickUpColor: colours.up,
      wickDownColor: colours.down,
    });
    this.#lines.vwap.applyOptions({ color: colours.accent });
    this.#lines.bid_close.applyOptions({ color: colours.accent });
    this.#lines.ask_close.applyOptions({ color: colours.second });
  }

  /** Draw all bars; `first`: of another choice, so show the newest. */
  draw(bars, first, exact) {
    this.#exact = exact;
    const precision = decimals(bars);
    const priceFormat = { type: "price", precision, minMove: 10 ** -precision };
    this.#candles.applyOptions({ priceFormat });
    this.#candles.setData(bars.map((bar) => this.#candle(bar)));
    this.#volume.setData(bars.map((bar) => this.#column(bar)));
    for (const [name, line] of Object.entries(this.#lines)) {
      line.applyOptions({ priceFormat });
      line.setData(bars.map((bar) => point(bar, name)));
    }
    this.#mark(bars.at(-1));
    if (first) {
      const to = bars.length - 1 + ROOM_AT_RIGHT;
      this.#chart.priceScale("right").applyOptions({ autoScale: true });
      this.#chart.timeScale().setVisibleLogicalRange({ from: to - SHOWN_AT_FIRST, to });
    }
  }

  /** Draw one bar: a new one at the end, or a new version of one that is there. */
  update(bar, newest) {
    const past = bar.start_ms < newest;
    this.#candles.update(this.#candle(bar), past);
    this.#volume.update(this.#column(bar), past);
    for (const [name, line] of Object.entries(this.#lines)) line.update(point(bar, name), past);
    if (!past) this.#mark(bar);
  }

  /** The newest price's line and label; a hollow candle's own colour would hide them. */
  #mark(bar) {
    if (bar) this.#candles.applyOptions({ priceLineColor: this.#colour(bar) });
  }

  /** What is drawn, as the library has it: candles, oldest first. */
  drawn() {
    return this.#candles.data();
  }

  #colour(bar) {
    return bar.close >= bar.open ? this.#colours.up : this.#colours.down;
  }

  #candle(bar) {
    const { start_ms, open, high, low, close } = bar;
    const candle = { time: start_ms / 1000, open, high, low, close };
    // Not final yet: hollow.
    return bar.is_final ? candle : { ...candle, color: this.#colours.surface };
  }

  #column(bar) {
    const time = bar.start_ms / 1000;
    if (bar.volume === undefined || bar.volume === null) return { time };
    return { time, value: bar.volume, color: faint(this.#colour(bar)) };
  }

  #key(event) {
    const scale = this.#chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (!range) return;
    const width = range.to - range.from;
    const show = (from, to) => scale.setVisibleLogicalRange({ from, to });
    if (event.key === "ArrowLeft") show(range.from - width / 8, range.to - width / 8);
    else if (event.key === "ArrowRight") show(range.from + width / 8, range.to + width / 8);
    else if (event.key === "+") show(range.from + width / 4, range.to);
    else if (event.key === "-") show(range.from - width / 2, range.to);
    else if (event.key === "End") scale.scrollToRealTime();
    else return;
    event.preventDefault();
  }
}

function point(bar, name) {
  const time = bar.start_ms / 1000;
  return bar[name] === undefined || bar[name] === null ? { time } : { time, value: bar[name] };
}
