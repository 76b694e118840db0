// The row of tools above the map.

import { button, node } from "../shared/dom.ts";
import { onChange, save, type Model } from "../shared/model.ts";
import { ZOOM_STEP, type Action, type Tool } from "./keys.ts";

// One stroked path each, in a 16 x 16 box.
const ICON = {
  lasso: "M6 13c-3-.5-4.500-2.500-4-5 .6-3 4-5 7.500-4.500s5.500 2.500 5 5c-.4 2.200-3 3.500-6 3.500-1.500 0-3 .5-3 1.500s1 1.200 2 1",
  box: "M2.500 3.500h11v9h-11zM2.500 3.500",
  pan: "M8 2v12M2 8h12M6.500 3.500 8 2l1.500 1.500M6.500 12.500 8 14l1.500-1.500M3.500 6.500 2 8l1.500 1.500M12.500 6.500 14 8l-1.500 1.500",
  replace: "M3 3h10v10H3z",
  add: "M8 3v10M3 8h10",
  subtract: "M3 8h10",
  closer: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.600 10.600 14 14M7 5v4M5 7h4",
  farther: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.600 10.600 14 14M5 7h4",
  fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  undo: "M3 6h7a3.500 3.500 0 0 1 0 7H6M3 6l3-3M3 6l3 3",
  redo: "M13 6H6a3.500 3.500 0 0 0 0 7h4M13 6l-3-3M13 6l-3 3",
  clear: "M4 4l8 8M12 4l-8 8",
  invert: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  density: "M4 4h.01M7 3h.01M5 7h.01M8 6h.01M8 9h.01M11 7h.01M10 10h.01M7 12h.01M12 12h.01M4 11h.01M12 4h.01",
};


/** Buttons of the map; `act` carries out what has no trait of its own. */
export function toolbar(
  model: Model,
  act: (action: Action) => void,
  signal: AbortSignal,
): HTMLElement {
  const row = node("div", { class: "wk-tools", role: "toolbar", "aria-label": "Map tools" });
  const gap = (): HTMLElement => node("span", { class: "wk-gap" });

  /** Buttons of which one is pressed: the value of a trait. */
  const choice = (trait: string, options: [value: string, label: string, path: string, key?: string][]) => {
    const made = options.map(([value, label, path, key]) => {
      const item = button(
        {
          label,
          path,
          ...(key ? { key } : {}),
          pressed: false,
          onClick: () => save(model, { [trait]: value }),
        },
        signal,
      );
      item.dataset.value = value;
      item.dataset.trait = trait;
      return item;
    });
    const show = (): void => {
      for (const item of made) {
        item.setAttribute("aria-pressed", String(item.dataset.value === model.get(trait)));
      }
    };
    onChange(model, [trait], show, signal);
    show();
    return made;
  };
  const tools: [Tool, string, string, string][] = [
    ["lasso", "Lasso", ICON.lasso, "l"],
    ["box", "Rectangle", ICON.box, "r"],
    ["pan", "Move the map", ICON.pan, "p"],
  ];
  const simple = (label: string, path: string, key: string, action: Action): HTMLButtonElement => {
    const made = button({ label, path, key, onClick: () => act(action) }, signal);
    if (action.do === "command") made.dataset.command = action.name;
    return made;
  };
  const undo = simple("Undo", ICON.undo, "Ctrl+Z", { do: "command", name: "undo" });
  const redo = simple("Redo", ICON.redo, "Ctrl+Shift+Z", { do: "command", name: "redo" });
  const density = button(
    {
      label: "Density",
      path: ICON.density,
      pressed: false,
      onClick: () =>
        save(model, { density: density.getAttribute("aria-pressed") === "true" ? "off" : "on" }),
    },
    signal,
  );
  density.dataset.command = "density";

  const columns = node("select", { "aria-label": "Colour by" });
  columns.addEventListener("change", () => save(model, { color_by: columns.value }), { signal });
  const showColumns = (): void => {
    const names = (model.get("_columns") as string[]) ?? [];
    const chosen = String(model.get("color_by") ?? "cluster");
    const all = names.includes(chosen) ? names : [...names, chosen];
    columns.replaceChildren(...all.map((name) => node("option", { value: name }, name)));
    columns.value = chosen;
  };
  onChange(model, ["_columns", "color_by"], showColumns, signal);
  showColumns();
  const showHistory = (): void => {
    const [back, forth] = (model.get("_history") as boolean[]) ?? [];
    undo.disabled = !back;
    redo.disabled = !forth;
  };
  onChange(model, ["_history"], showHistory, signal);
  showHistory();

  row.append(
    ...choice("tool", tools),
    gap(),
    ...choice("mode", [
      ["replace", "New selection", ICON.replace],
      ["add", "Add to the selection", ICON.add, "hold Shift"],
      ["subtract", "Take from the selection", ICON.subtract, "hold Alt"],
    ]),
    gap(),
    simple("Zoom in", ICON.closer, "+", { do: "zoom", factor: ZOOM_STEP }),
    simple("Zoom out", ICON.farther, "-", { do: "zoom", factor: 1 / ZOOM_STEP }),
    simple("Show all", ICON.fit, "0", { do: "fit" }),
    gap(),
    undo,
    redo,
    simple("Invert the selection", ICON.invert, "i", { do: "command", name: "invert" }),
    simple("Clear the selection", ICON.clear, "Esc", { do: "command", name: "clear" }),
    gap(),
    density,
    node("span", { class: "wk-fill" }),
    node("label", { class: "wk-by" }, "Colour by ", columns),
  );
  return row;
}

/** The density button shows what is drawn, which "auto" decides. */
export function showDensity(row: HTMLElement, on: boolean): void {
  row.querySelector('[data-command="density"]')?.setAttribute("aria-pressed", String(on));
}
