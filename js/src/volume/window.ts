// Which values are black and white, and the value of a stored grey in words. Pure.

import { short } from "../maps/state.ts";

export type Window = [low: number, high: number];

export interface Stored {
  /** Values of grey 0 and 255; null where the grey is the value. */
  readonly window: Window | null;
  readonly units: string;
}

/** All that the 8 stored bits can show. */
export function storedWindow(stored: Stored): Window {
  return stored.window ?? [0, 255];
}

/** Value that a stored grey stands for. */
export function valueOf(code: number, stored: Stored): number {
  const [low, high] = storedWindow(stored);
  return low + ((high - low) * code) / 255;
}

/** Grey of each stored grey, drawn from black at the low end to white at the high one. */
export function lutOf([low, high]: Window, stored: Stored): Uint8Array {
  const out = new Uint8Array(256);
  for (let code = 0; code < 256; code++) {
    const place = (valueOf(code, stored) - low) / (high - low);
    out[code] = Math.round(Math.min(1, Math.max(0, place)) * 255);
  }
  return out;
}

/** What the browser or a file says, if it is a window. */
export function readWindow(value: unknown): Window | null {
  if (!Array.isArray(value) || value.length !== 2 || !value.every(Number.isFinite)) return null;
  const [low, high] = value as Window;
  return low < high ? [low, high] : null;
}

export const levelOf = ([low, high]: Window): number => (low + high) / 2;
export const widthOf = ([low, high]: Window): number => high - low;

/** A window of a level and a width: at least one step of the stored greys wide. */
export function windowOf(level: number, width: number, stored: Stored): Window {
  const [low, high] = storedWindow(stored);
  const wide = Math.max((high - low) / 255, width);
  return [level - wide / 2, level + wide / 2];
}

/** Pixels of a drag over which the window changes by all that is stored. */
const DRAG_PX = 400;

/** To the right wider, upwards a higher level. */
export function dragged(from: Window, dx: number, dy: number, stored: Stored): Window {
  const [low, high] = storedWindow(stored);
  const perPx = (high - low) / DRAG_PX;
  const level = Math.min(high, Math.max(low, levelOf(from) - dy * perPx));
  const width = Math.min(4 * (high - low), widthOf(from) + dx * perPx);
  return windowOf(level, width, stored);
}

/** A number as windows and values are written: whole where it is large. */
export function number(value: number): string {
  const text = Math.abs(value) >= 100 ? String(Math.round(value)) : short(value);
  return text.replace("-", "\u2212");
}

const unit = (stored: Stored): string => (stored.units ? ` ${stored.units}` : "");

/** A stored grey in words; at both ends the store cannot tell more. */
export function valueText(code: number, stored: Stored): string {
  if (!stored.window) return `grey ${code}`;
  const sign = code === 0 ? "\u2264" : code === 255 ? "\u2265" : "\u2248";
  return `${sign} ${number(valueOf(code, stored))}${unit(stored)}`;
}

/** The stored window in words. */
export function storedText(stored: Stored): string {
  if (!stored.window) return "stored greys 0 to 255";
  const [low, high] = stored.window;
  return `stored window ${number(low)}..${number(high)}${unit(stored)}`;
}

export interface Preset {
  readonly name: string;
  readonly low: number;
  readonly high: number;
  readonly note?: string;
  readonly reason?: string;
}

/** Name of the preset that a window is; "" for all that is stored, "own" for another. */
export function presetOf(window: Window, presets: readonly Preset[], stored: Stored): string {
  const same = (low: number, high: number): boolean =>
    Math.abs(low - window[0]) < 1e-6 && Math.abs(high - window[1]) < 1e-6;
  if (same(...storedWindow(stored))) return "";
  return presets.find((preset) => same(preset.low, preset.high))?.name ?? "own";
}
