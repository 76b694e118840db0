// Which key does what while a plane has the focus, as values: the view carries them out.

import type { Axis } from "./geometry.ts";

export type Tool = "cross" | "window" | "pan" | "brush";

export type Action =
  | { do: "slice"; by: number } // through the plane that has the focus
  | { do: "end"; last: boolean }
  | { do: "move"; across: number; down: number } // the crosshair, in the plane, as seen
  | { do: "large"; axis: Axis }
  | { do: "volume"; by: number }
  | { do: "zoom"; factor: number }
  | { do: "tool"; tool: Tool }
  | { do: "map" | "cross" | "fit" | "reset" | "window" | "cancel" }
  | { do: "command"; name: "undo" | "redo" | "concept" | "more" };

export const ZOOM_STEP = 1.4;
/** Slices that a page key moves. */
const PAGE = 10;

interface Key {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  shiftKey: boolean;
  altKey: boolean;
}

const PLAIN: Record<string, Action> = {
  arrowup: { do: "slice", by: 1 },
  arrowright: { do: "slice", by: 1 },
  arrowdown: { do: "slice", by: -1 },
  arrowleft: { do: "slice", by: -1 },
  pageup: { do: "slice", by: PAGE },
  pagedown: { do: "slice", by: -PAGE },
  home: { do: "end", last: false },
  end: { do: "end", last: true },
  "1": { do: "large", axis: 0 },
  "2": { do: "large", axis: 1 },
  "3": { do: "large", axis: 2 },
  n: { do: "volume", by: 1 },
  b: { do: "volume", by: -1 },
  "+": { do: "zoom", factor: ZOOM_STEP },
  "=": { do: "zoom", factor: ZOOM_STEP },
  "-": { do: "zoom", factor: 1 / ZOOM_STEP },
  _: { do: "zoom", factor: 1 / ZOOM_STEP },
  "0": { do: "fit" },
  m: { do: "map" },
  c: { do: "cross" },
  r: { do: "reset" },
  w: { do: "window" },
  k: { do: "command", name: "concept" }, // of what was brushed last
  escape: { do: "cancel" },
};

const SHIFTED: Record<string, Action> = {
  arrowup: { do: "move", across: 0, down: -1 },
  arrowdown: { do: "move", across: 0, down: 1 },
  arrowleft: { do: "move", across: -1, down: 0 },
  arrowright: { do: "move", across: 1, down: 0 },
  k: { do: "command", name: "more" },
};

/** What a key means; null leaves it to the page. */
export function actionOf(event: Key): Action | null {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return { do: "command", name: event.shiftKey ? "redo" : "undo" };
    return key === "y" ? { do: "command", name: "redo" } : null;
  }
  if (event.altKey) return null;
  if (event.shiftKey && Object.hasOwn(SHIFTED, key)) return SHIFTED[key]!;
  return Object.hasOwn(PLAIN, key) ? PLAIN[key]! : null;
}

/** What a drag does: the button and the keys held go before the tool. */
export function dragOf(
  event: { button: number; shiftKey: boolean; altKey: boolean }, tool: Tool, windowHeld: boolean,
): Tool | null {
  if (event.button === 2 || (event.button === 0 && windowHeld)) return "window";
  if (event.button === 1) return "pan";
  if (event.button !== 0) return null;
  if (tool === "brush") return "brush"; // there Shift adds and Alt takes away
  if (event.altKey) return "brush";
  if (event.shiftKey) return "pan";
  return tool;
}
