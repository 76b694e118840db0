// Keeps plotly's charts as wide as their panel. plotly draws 700 px wide where its node is not in
// the page yet, and then listens to the window only, not to the place it stands in.

import { node, perFrame } from "../shared/dom.ts";
import type { RenderProps } from "../shared/model.ts";

/** A chart that keeps its width after so many askings (a minute) is left alone. */
const ASKINGS = 36;
/** plotly resizes 100 ms after it was asked, and drops it when it is being drawn or changed just then. */
const AGAIN_MS = 250;
const AGAIN_MOST_MS = 2000;

/** Time from one asking to the next. */
function pause(times: number): number {
  return Math.min(AGAIN_MS * 2 ** Math.max(0, times - 3), AGAIN_MOST_MS);
}

function render({ el }: RenderProps): () => void {
  const abort = new AbortController();
  /** Widths for which a chart was asked already, and how many times. */
  const asked = new WeakMap<Element, { widths: string; times: number; at: number }>();
  let panel: Element | null = null;
  let later = 0;

  const fit = perFrame(() => {
    let wrong = false;
    let waits = Infinity;
    const now = performance.now();
    for (const chart of panel?.querySelectorAll(".js-plotly-plot") ?? []) {
      const drawn = chart.querySelector(".main-svg")?.clientWidth;
      const room = chart.clientWidth;
      const widths = `${drawn} in ${room}`;
      if (!drawn || !room || drawn === room) continue;
      const before = asked.get(chart);
      const times = before?.widths === widths ? before.times : 0;
      if (times >= ASKINGS) continue;
      waits = Math.min(waits, pause(times + 1));
      if (before && times && now - before.at < pause(times)) continue;
      asked.set(chart, { widths, times: times + 1, at: now });
      wrong = true;
    }
    if (wrong) window.dispatchEvent(new Event("resize"));
    window.clearTimeout(later);
    if (waits < Infinity) later = window.setTimeout(fit, waits + 10);
  }, abort.signal);

  const drawings = new MutationObserver(fit);
  const mark = node("div", { "aria-hidden": true });
  const size = new ResizeObserver(() => {
    // render() may run before the node is in the page; it has a size once it is.
    const found = mark.closest(".wk-panel");
    if (found && found !== panel) {
      panel = found;
      drawings.observe(panel, { childList: true, subtree: true });
    }
    fit();
  });
  el.append(mark);
  size.observe(mark);
  return () => {
    abort.abort();
    window.clearTimeout(later);
    size.disconnect();
    drawings.disconnect();
    mark.remove();
  };
}

export default { render };
