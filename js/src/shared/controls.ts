// Labelled controls bound to one trait each: they show the trait and write it, nothing else.

import { debounce, node } from "./dom.ts";
import { onChange, type Model } from "./model.ts";

/** A slider moves the picture at once and tells the kernel when it rests. */
const REST_MS = 150;

export interface RangeOptions {
  trait: string;
  label: string;
  least: number;
  most: number;
  step: number;
  /** Text beside the slider. */
  text?: (value: number) => string;
}

/** Writes a trait here at once and to the kernel after a rest. */
export function lateSaver(model: Model, signal: AbortSignal): (trait: string, value: unknown) => void {
  const saveLater = debounce(() => model.save_changes(), REST_MS, signal);
  return (trait, value) => {
    model.set(trait, value);
    saveLater();
  };
}

/** A slider bound to a numeric trait; `setMost` follows data (number of slices, ...). */
export function range(
  model: Model,
  options: RangeOptions,
  write: (trait: string, value: unknown) => void,
  signal: AbortSignal,
): { element: HTMLLabelElement; input: HTMLInputElement; setMost: (most: number) => void } {
  const { trait, label, least, most, step, text } = options;
  const input = node("input", { type: "range", min: least, max: most, step, "aria-label": label });
  const shown = node("output", { hidden: !text });
  const element = node("label", { class: "wk-range", title: label }, label, input, shown);
  const show = (): void => {
    const value = Number(model.get(trait));
    input.value = String(value);
    shown.textContent = text ? text(value) : "";
    input.setAttribute("aria-valuetext", shown.textContent || String(value));
  };
  input.addEventListener("input", () => write(trait, Number(input.value)), { signal });
  onChange(model, [trait], show, signal);
  show();
  return {
    element,
    input,
    setMost: (value) => {
      input.max = String(value);
      show();
    },
  };
}

export interface Choice {
  value: string;
  label: string;
  /** Why it cannot be chosen; shown in the list. */
  reason?: string;
  group?: string;
}

/** Fills a select, keeping it untouched while the choices are the same. */
export function fill(select: HTMLSelectElement, choices: readonly Choice[], chosen: string): void {
  const key = JSON.stringify(choices);
  if (select.dataset.choices !== key) {
    select.dataset.choices = key;
    select.replaceChildren();
    const groups = new Map<string, HTMLOptGroupElement>();
    for (const { value, label, reason, group: name } of choices) {
      const option = node("option", { value, disabled: Boolean(reason), title: reason ?? null });
      option.textContent = reason ? `${label} (${reason})` : label;
      if (!name) {
        select.append(option);
        continue;
      }
      let group = groups.get(name);
      if (!group) {
        group = node("optgroup", { label: name });
        groups.set(name, group);
        select.append(group);
      }
      group.append(option);
    }
  }
  select.value = chosen;
}

/** A labelled select. */
export function select(
  label: string,
  chosen: (value: string) => void,
  signal: AbortSignal,
): { element: HTMLLabelElement; select: HTMLSelectElement } {
  const made = node("select", { "aria-label": label });
  made.addEventListener("change", () => chosen(made.value), { signal });
  return { element: node("label", { class: "wk-choice", title: label }, label, made), select: made };
}

/** A tick box bound to a boolean trait. */
export function tick(
  model: Model,
  trait: string,
  label: string,
  title: string,
  signal: AbortSignal,
): HTMLLabelElement {
  const input = node("input", { type: "checkbox" });
  const show = (): void => {
    input.checked = Boolean(model.get(trait));
  };
  input.addEventListener(
    "change",
    () => {
      model.set(trait, input.checked);
      model.save_changes();
    },
    { signal },
  );
  onChange(model, [trait], show, signal);
  show();
  return node("label", { class: "wk-tick", title }, input, label);
}
