// Which key does what, as values: the view carries them out.

import type { Mode } from "../shared/model.ts";

export type Tool = "lasso" | "box" | "pan";

export type Action =
  | { do: "tool"; tool: Tool }
  | { do: "zoom"; factor: number }
  | { do: "pan"; dx: number; dy: number }
  | { do: "fit" | "space" }
  | { do: "command"; name: "clear" | "all" | "invert" | "undo" | "redo" | "concept" };

/** Pixels that an arrow key moves the map. */
const STEP_PX = 40;
export const ZOOM_STEP = 1.4;

interface Key {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  shiftKey: boolean;
  altKey: boolean;
}

const PLAIN: Record<string, Action> = {
  l: { do: "tool", tool: "lasso" },
  r: { do: "tool", tool: "box" },
  p: { do: "tool", tool: "pan" },
  "+": { do: "zoom", factor: ZOOM_STEP },
  "=": { do: "zoom", factor: ZOOM_STEP },
  "-": { do: "zoom", factor: 1 / ZOOM_STEP },
  _: { do: "zoom", factor: 1 / ZOOM_STEP },
  "0": { do: "fit" },
  a: { do: "command", name: "all" },
  i: { do: "command", name: "invert" },
  k: { do: "command", name: "concept" },
  escape: { do: "command", name: "clear" },
  arrowleft: { do: "pan", dx: STEP_PX, dy: 0 },
  arrowright: { do: "pan", dx: -STEP_PX, dy: 0 },
  arrowup: { do: "pan", dx: 0, dy: STEP_PX },
  arrowdown: { do: "pan", dx: 0, dy: -STEP_PX },
  " ": { do: "space" },
};

/** What a key means while the map has the focus; null leaves it to the page. */
export function actionOf(event: Key): Action | null {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return { do: "command", name: event.shiftKey ? "redo" : "undo" };
    if (key === "y") return { do: "command", name: "redo" };
    return null;
  }
  if (event.altKey) return null;
  return Object.hasOwn(PLAIN, key) ? PLAIN[key]! : null;
}

/** Keys held during a gesture go before what the toolbar says. */
export function modeOf(event: { shiftKey: boolean; altKey: boolean }, chosen: Mode): Mode {
  if (event.shiftKey && event.altKey) return "intersect";
  if (event.shiftKey) return "add";
  if (event.altKey) return "subtract";
  return chosen;
}

/** Keys that a focused control needs for itself: a menu all of them, a button two. */
export function belongsToControl(tag: string, key: string): boolean {
  const name = tag.toLowerCase();
  if (name === "select" || name === "input" || name === "textarea") return true;
  return name === "button" && (key === " " || key === "Enter");
}
