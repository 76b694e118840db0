/** The toolbar of the map viewer. */

import { fill, lateSaver, range, select, tick, type Choice } from "../shared/controls.ts";
import { node } from "../shared/dom.ts";
import { onChange, save, send, type Model } from "../shared/model.ts";
import { DIVERGING, LABELS, paletteName, SEQUENTIAL } from "./luts.ts";
import type { Content } from "./state.ts";

interface MethodEntry {
  name: string;
  title: string;
  reason?: string; // why it cannot run now
}

interface TargetEntry {
  value: string;
  label: string;
  group?: string;
}

const percent = (value: number): string => `${Math.round(value * 100)} %`;

export function controls(
  model: Model,
  signal: AbortSignal,
): { element: HTMLElement; content: (content: Content) => void } {
  const write = lateSaver(model, signal);
  let signed = false;

  const modes = (["tile", "map", "overlay"] as const).map((mode) => {
    const made = node("button", { type: "button", "data-mode": mode }, mode);
    made.addEventListener("click", () => save(model, { mode }), { signal });
    return made;
  });
  const segments = node("div", { class: "wk-segments", role: "group", "aria-label": "What is shown" }, ...modes);

  // The kernel owns method and target: the list asks, and shows what the kernel then says.
  const method = select("method", (name) => send(model, { kind: "map", method: name, target: null }), signal);
  const ask = (target: string, against = ""): void =>
    send(model, { kind: "map", method: String(model.get("_method")), target, against });
  const target = select("of", (value) => ask(value, String(model.get("_against"))), signal);
  const against = select("against", (value) => ask(String(model.get("_target")), value), signal);
  // A layer has up to thousands of channels: a number, not a list.
  const number = node("input", { type: "number", min: 0, step: 1, "aria-label": "Number of the channel" });
  number.addEventListener(
    "change",
    () => {
      const channel = Math.round(Number(number.value));
      if (channel >= 0 && channel < Number(model.get("_channels"))) {
        ask(`channel:${channel}`);
      }
    },
    { signal },
  );
  const channel = node("label", { class: "wk-choice" }, "channel", number);
  const palette = select(
    "colours",
    (name) => save(model, { [signed ? "diverging" : "palette"]: name }),
    signal,
  );
  const opacity = range(
    model,
    { trait: "opacity", label: "opacity", least: 0, most: 1, step: 0.01, text: percent },
    write,
    signal,
  );
  const threshold = range(
    model,
    { trait: "threshold", label: "threshold", least: 0, most: 1, step: 0.01, text: percent },
    write,
    signal,
  );
  const size = range(
    model,
    {
      trait: "size",
      label: "size",
      least: 28,
      most: 256,
      step: 4,
      text: (side) => (side < 32 ? "fit" : String(side)),
    },
    write,
    signal,
  );
  const count = range(
    model,
    { trait: "count", label: "tiles", least: 1, most: 64, step: 1, text: String },
    write,
    signal,
  );
  let depth = 1;
  const slice = range(
    model,
    {
      trait: "slice",
      label: "slice",
      least: 0,
      most: 0,
      step: 1,
      text: (z) => `${Math.min(z < 0 ? Math.floor(depth / 2) : z, depth - 1) + 1} of ${depth}`,
    },
    write,
    signal,
  );
  const smooth = tick(model, "smooth", "smooth", "Interpolate between cells, or show the cells as they are", signal);
  const own = tick(model, "own_scale", "own scales", "Colour each tile on a scale of its own: colours of two tiles then do not compare", signal);

  const show = (): void => {
    const mode = String(model.get("mode"));
    for (const made of modes) made.setAttribute("aria-pressed", String(made.dataset.mode === mode));
    opacity.element.hidden = mode !== "overlay";
    const methods = (model.get("_methods") ?? []) as MethodEntry[];
    fill(
      method.select,
      methods.map(({ name, title, reason }): Choice =>
        reason ? { value: name, label: title, reason } : { value: name, label: title },
      ),
      String(model.get("_method")),
    );
    const targets = (model.get("_targets") ?? []) as TargetEntry[];
    fill(target.select, targets, String(model.get("_target")));
    target.element.hidden = targets.length < 2;
    const againsts = (model.get("_againsts") ?? []) as TargetEntry[];
    fill(against.select, againsts, String(model.get("_against") ?? ""));
    against.element.hidden = againsts.length < 2;
    const channels = Number(model.get("_channels"));
    channel.hidden = channels === 0;
    number.max = String(channels - 1);
    number.value = /^channel:(\d+)$/.exec(String(model.get("_target")))?.[1] ?? "";
    const names = signed ? DIVERGING : SEQUENTIAL;
    const chosen = paletteName(String(model.get(signed ? "diverging" : "palette")), signed);
    fill(palette.select, names.map((name) => ({ value: name, label: LABELS[name] ?? name })), chosen);
  };
  onChange(
    model,
    [
      "mode", "_methods", "_method", "_targets", "_target", "_againsts", "_against", "_channels",
      "palette", "diverging",
    ],
    show,
    signal,
  );

  const element = node(
    "div",
    { class: "wk-tools", role: "toolbar", "aria-label": "Map settings" },
    segments, method.element, target.element, against.element, channel, opacity.element, threshold.element,
    palette.element, smooth, own, slice.element, size.element, count.element,
  );
  show();
  return {
    element,
    content: (content) => {
      signed = content.signed;
      depth = content.grids?.depth ?? 1;
      slice.element.hidden = depth < 2;
      slice.setMost(depth - 1);
      slice.input.value = String(content.slice);
      const without = content.grids === null;
      for (const control of [threshold.element, palette.element, smooth, own]) control.hidden = without;
      show();
    },
  };
}
