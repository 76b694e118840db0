// Two rows above the slide: what the hand does, and how the map looks.

import { fill, lateSaver, range, select, tick, type Choice } from "../shared/controls.ts";
import { button, node } from "../shared/dom.ts";
import { onChange, save, send, type Model } from "../shared/model.ts";
import { DIVERGING, LABELS, paletteName, SEQUENTIAL } from "../maps/luts.ts";
import { ZOOM_STEP } from "../scatter/keys.ts";
import type { Action } from "./keys.ts";

// One stroked path each, in a 16 x 16 box.
const ICON = {
  lasso: "M6 13c-3-.5-4.500-2.500-4-5 .6-3 4-5 7.500-4.500s5.500 2.500 5 5c-.4 2.200-3 3.500-6 3.500-1.500 0-3 .5-3 1.500s1 1.200 2 1",
  box: "M2.500 3.500h11v9h-11z",
  pan: "M8 2v12M2 8h12M6.500 3.500 8 2l1.500 1.500M6.500 12.500 8 14l1.500-1.500M3.500 6.500 2 8l1.500 1.500M12.500 6.500 14 8l-1.500 1.500",
  replace: "M3 3h10v10H3z",
  add: "M8 3v10M3 8h10",
  subtract: "M3 8h10",
  closer: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.600 10.600 14 14M7 5v4M5 7h4",
  farther: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.600 10.600 14 14M5 7h4",
  fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  chosen: "M2 5V2h3M11 2h3v3M14 11v3h-3M5 14H2v-3M5.500 5.500h5v5h-5z",
  undo: "M3 6h7a3.500 3.500 0 0 1 0 7H6M3 6l3-3M3 6l3 3",
  redo: "M13 6H6a3.500 3.500 0 0 0 0 7h4M13 6l-3-3M13 6l-3 3",
  clear: "M4 4l8 8M12 4l-8 8",
  invert: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  map: "M2 4l4-1.500 4 1.500 4-1.500v9.500l-4 1.500-4-1.500-4 1.500zM6 2.500V12M10 4v9.500",
  before: "M10 3 5 8l5 5",
  after: "M6 3l5 5-5 5",
};

const MARKING: Choice[] = [
  { value: "dim", label: "dims the rest" },
  { value: "outline", label: "outlined" },
  { value: "off", label: "not shown" },
];

const percent = (value: number): string => `${Math.round(value * 100)} %`;

export interface Toolbar {
  element: HTMLElement;
  /** What the lists hold depends on the map that is shown. */
  content(state: { signed: boolean; all: boolean; slides: number; slide: number }): void;
}

export function toolbar(model: Model, act: (action: Action) => void, signal: AbortSignal): Toolbar {
  const gap = (): HTMLElement => node("span", { class: "wk-gap" });
  const simple = (label: string, path: string, key: string, action: Action): HTMLButtonElement => {
    const made = button({ label, path, ...(key ? { key } : {}), onClick: () => act(action) }, signal);
    made.dataset.command = action.do === "command" ? action.name : action.do;
    return made;
  };
  /** Buttons of which one is pressed: the value of a trait. */
  const choice = (trait: string, options: [value: string, label: string, path: string, key: string][]) => {
    const made = options.map(([value, label, path, key]) => {
      const item = button(
        { label, path, key, pressed: false, onClick: () => save(model, { [trait]: value }) },
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

  const undo = simple("Undo", ICON.undo, "Ctrl+Z", { do: "command", name: "undo" });
  const redo = simple("Redo", ICON.redo, "Ctrl+Shift+Z", { do: "command", name: "redo" });
  const before = simple("Previous slide", ICON.before, "Page up", { do: "slide", step: -1 });
  const after = simple("Next slide", ICON.after, "Page down", { do: "slide", step: 1 });
  before.dataset.command = "before";
  after.dataset.command = "after";
  const number = node("span", { class: "wk-slide-number" });
  const steps = node("span", { class: "wk-slide-steps" }, before, number, after);
  const hand = node(
    "div",
    { class: "wk-tools", role: "toolbar", "aria-label": "Slide tools" },
    ...choice("tool", [
      ["pan", "Move the slide", ICON.pan, "p"],
      ["box", "Select in a rectangle", ICON.box, "r"],
      ["lasso", "Select freehand", ICON.lasso, "l"],
    ]),
    gap(),
    ...choice("mode", [
      ["replace", "New selection", ICON.replace, "no key held"],
      ["add", "Add to the selection", ICON.add, "Shift"],
      ["subtract", "Take away from the selection", ICON.subtract, "Alt"],
    ]),
    gap(),
    simple("Zoom in", ICON.closer, "+", { do: "zoom", factor: ZOOM_STEP }),
    simple("Zoom out", ICON.farther, "-", { do: "zoom", factor: 1 / ZOOM_STEP }),
    simple("Show the whole slide", ICON.fit, "0", { do: "fit" }),
    simple("Zoom to the selection", ICON.chosen, "z", { do: "selection" }),
    gap(),
    undo,
    redo,
    simple("Clear the selection", ICON.clear, "Esc", { do: "command", name: "clear" }),
    simple("Invert the selection", ICON.invert, "i", { do: "command", name: "invert" }),
    node("span", { class: "wk-fill" }),
    steps,
  );

  const write = lateSaver(model, signal);
  const map = button(
    {
      label: "Map over the slide", path: ICON.map, key: "m", pressed: true,
      onClick: () => act({ do: "map" }),
    },
    signal,
  );
  map.dataset.command = "map";
  // The kernel owns method and target: the lists ask, and show what the kernel then says.
  const ask = (method: string, target: string | null, against = ""): void =>
    send(model, { kind: "map", method, target, against });
  const chosen = (trait: string): string => String(model.get(trait) ?? "");
  const method = select("map", (name) => ask(name, null), signal);
  const target = select("of", (value) => ask(chosen("_method"), value, chosen("_against")), signal);
  const against = select("against", (value) => ask(chosen("_method"), chosen("_target"), value), signal);
  const opacity = range(
    model,
    { trait: "opacity", label: "opacity", least: 0, most: 1, step: 0.01, text: percent },
    write, signal,
  );
  const threshold = range(
    model,
    { trait: "threshold", label: "threshold", least: 0, most: 1, step: 0.01, text: percent },
    write, signal,
  );
  let signed = false;
  const palette = select(
    "colours",
    (name) => save(model, { [signed ? "diverging" : "palette"]: name }),
    signal,
  );
  const smooth = tick(
    model, "smooth", "smooth", "Blend the colours of neighbouring positions, or show each as it is", signal,
  );
  const marking = select("selection", (value) => save(model, { marking: value }), signal);
  const follow = tick(
    model, "follow", "follow", "Go to the slide that holds most of a new selection", signal,
  );
  const look = node(
    "div",
    { class: "wk-tools wk-slide-look", role: "toolbar", "aria-label": "Map on the slide" },
    map, method.element, target.element, against.element, opacity.element, threshold.element, palette.element, smooth,
    marking.element, follow,
  );

  const show = (): void => {
    const methods = (model.get("_methods") ?? []) as { name: string; title: string; reason?: string }[];
    fill(
      method.select,
      methods.map(({ name, title, reason }): Choice =>
        reason ? { value: name, label: title, reason } : { value: name, label: title },
      ),
      String(model.get("_method")),
    );
    const targets = (model.get("_targets") ?? []) as Choice[];
    fill(target.select, targets, String(model.get("_target")));
    target.element.hidden = targets.length < 2;
    const againsts = (model.get("_againsts") ?? []) as Choice[];
    fill(against.select, againsts, chosen("_against"));
    against.element.hidden = againsts.length < 2;
    const names = signed ? DIVERGING : SEQUENTIAL;
    fill(
      palette.select,
      names.map((name) => ({ value: name, label: LABELS[name] ?? name })),
      paletteName(String(model.get(signed ? "diverging" : "palette")), signed),
    );
    fill(marking.select, MARKING, String(model.get("marking")));
    map.setAttribute("aria-pressed", String(Boolean(model.get("show_map"))));
    const [back, forth] = (model.get("_history") as boolean[]) ?? [];
    undo.disabled = !back;
    redo.disabled = !forth;
  };
  onChange(
    model,
    [
      "_methods", "_method", "_targets", "_target", "_againsts", "_against", "palette", "diverging", "marking", "show_map",
      "_history",
    ],
    show, signal,
  );
  show();
  return {
    element: node("div", {}, hand, look),
    content: (state) => {
      signed = state.signed;
      palette.element.hidden = state.all;
      smooth.hidden = state.all; // a mixture of two clusters' colours may be a third cluster's
      steps.hidden = state.slides < 2;
      number.textContent = `${state.slide + 1} of ${state.slides}`;
      before.disabled = state.slide <= 0;
      after.disabled = state.slide >= state.slides - 1;
      follow.hidden = state.slides < 2;
      show();
    },
  };
}
