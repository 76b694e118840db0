// Keeps plotly's charts as wide as their panel. plotly draws 700 px wide where its node is not in
// the page yet, and then listens to the window only, not to the place it stands in.

import { node, perFrame } from "../shared/dom.ts";
import type { RenderProps } from "../shared/model.ts";

function render({ el }: RenderProps): () => void {
  const abort = new AbortController();
  /** Widths for which a chart was asked already: one that keeps its width is left alone. */
  const asked = new WeakMap<Element, string>();
  let panel: Element | null = null;

  const fit = perFrame(() => {
    let wrong = false;
    for (const chart of panel?.querySelectorAll(".js-plotly-plot") ?? []) {
      const drawn = chart.querySelector(".main-svg")?.clientWidth;
      const room = chart.clientWidth;
      const widths = `${drawn} in ${room}`;
      if (!drawn || !room || drawn === room || asked.get(chart) === widths) continue;
      asked.set(chart, widths);
      wrong = true;
    }
    if (wrong) window.dispatchEvent(new Event("resize"));
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
    size.disconnect();
    drawings.disconnect();
    mark.remove();
  };
}

export default { render };
