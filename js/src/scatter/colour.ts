// What the codes of the points look like.

import { rgb, table, VIRIDIS, type Rgb } from "../shared/colormaps.ts";
import { CATEGORICAL, NONE_COLOUR, NONE_INDEX } from "../shared/palette.ts";
import { lightness, type Theme } from "../shared/theme.ts";

export interface Item {
  name: string;
  colour: number;
  count: number;
}

/** The `_colouring` trait. */
export interface Colouring {
  by: string;
  missing: number;
  kind?: "categories" | "numbers";
  items?: Item[];
  low?: number;
  high?: number;
}

/** Colour of a palette index, lightened where it would sink into a dark page. */
export function paletteRgb(index: number, theme: Theme): Rgb {
  const hex =
    index === NONE_INDEX || index < 0 ? NONE_COLOUR : CATEGORICAL[index % CATEGORICAL.length]!;
  return onTheme(rgb(hex), theme);
}

/** Mixes towards white until the lightness is at least 0.38 (dark pages only). */
export function onTheme(colour: Rgb, theme: Theme): Rgb {
  if (theme === "light") return colour;
  const now = lightness(...colour);
  if (now >= 0.38) return colour;
  const part = (0.38 - now) / (1 - now);
  return colour.map((value) => Math.round(value + (255 - value) * part)) as Rgb;
}

export const css = ([red, green, blue]: Rgb): string => `rgb(${red}, ${green}, ${blue})`;

/** 256 RGBA entries by code; 255 is "no value". */
export function lookup(colouring: Colouring, theme: Theme): Uint8Array {
  const out = new Uint8Array(256 * 4);
  const put = (code: number, colour: Rgb): void => out.set([...colour, 255], code * 4);
  const none = paletteRgb(NONE_INDEX, theme);
  for (let code = 0; code < 256; code++) put(code, none);
  if (colouring.kind === "numbers") {
    out.set(table(VIRIDIS, 255), 0);
  } else {
    (colouring.items ?? []).forEach((item, code) => put(code, paletteRgb(item.colour, theme)));
  }
  return out;
}
