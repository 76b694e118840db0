// From pointer events to gestures. Knows pixels only; what a gesture means is the view's.

import type { Point } from "../shared/codec.ts";
import type { Tool } from "./keys.ts";

/** What is being drawn: a lasso's path, or a rectangle's two corners. */
export type Draft = { kind: "lasso"; path: Point[] } | { kind: "box"; from: Point; to: Point };

export interface GestureHandlers {
  /** What the next drag does. */
  tool(): Tool;
  /** The draft changed; null when there is none any more. */
  draft(draft: Draft | null): void;
  /** The button was released: a gesture commits once. */
  commit(draft: Draft, event: PointerEvent): void;
  click(at: Point, event: PointerEvent): void;
  doubleClick(): void;
  pan(dx: number, dy: number): void;
  zoom(at: Point, factor: number): void;
  /** The pointer moves with no button down; null when it leaves. */
  hover(at: Point | null): void;
}

/** A drag shorter than this is a click, CSS pixels. */
const CLICK_PX = 4;
/** Two clicks within this time and place are one double-click. */
const DOUBLE_MS = 350;
/** Steps of a lasso's path, CSS pixels. */
const STEP_PX = 1.5;

export interface Gestures {
  /** Drops a drag in progress; false when there was none. */
  cancel(): boolean;
  /** While the space bar is held, a drag moves the map. */
  setSpace(held: boolean): void;
}

export function gestures(
  target: HTMLElement,
  handlers: GestureHandlers,
  signal: AbortSignal,
): Gestures {
  let pointer: number | null = null;
  let panning = false;
  let last: Point = [0, 0];
  let start: Point = [0, 0];
  let draft: Draft | null = null;
  let space = false;
  let lastClick: { time: number; at: Point } | null = null;

  const place = (event: PointerEvent | WheelEvent): Point => {
    const box = target.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const far = (a: Point, b: Point): number => Math.hypot(a[0] - b[0], a[1] - b[1]);

  const finish = (): void => {
    if (pointer !== null && target.hasPointerCapture(pointer)) {
      target.releasePointerCapture(pointer);
    }
    pointer = null;
    panning = false;
    draft = null;
    target.classList.remove("wk-panning");
    handlers.draft(null);
  };

  target.addEventListener(
    "pointerdown",
    (event) => {
      if (pointer !== null || (event.button !== 0 && event.button !== 1)) return;
      // No auto-scroll of the middle button. The left one keeps its default: it gives the focus,
      // without the ring that a focus by script would show.
      if (event.button === 1) event.preventDefault();
      pointer = event.pointerId;
      target.setPointerCapture(pointer);
      start = last = place(event);
      panning = event.button === 1 || space || handlers.tool() === "pan";
      target.classList.toggle("wk-panning", panning);
      if (!panning) {
        draft =
          handlers.tool() === "box"
            ? { kind: "box", from: start, to: start }
            : { kind: "lasso", path: [start] };
      }
      handlers.hover(null);
    },
    { signal },
  );

  target.addEventListener(
    "pointermove",
    (event) => {
      if (pointer === null) {
        handlers.hover(place(event));
        return;
      }
      if (event.pointerId !== pointer) return;
      const at = place(event);
      if (panning) {
        handlers.pan(at[0] - last[0], at[1] - last[1]);
      } else if (draft?.kind === "lasso") {
        // A fast hand makes several moves a frame; each is a vertex.
        for (const each of event.getCoalescedEvents?.() ?? [event]) {
          const next = place(each);
          if (far(next, draft.path[draft.path.length - 1]!) >= STEP_PX) draft.path.push(next);
        }
        handlers.draft(draft);
      } else if (draft?.kind === "box") {
        draft = { ...draft, to: at };
        handlers.draft(draft);
      }
      last = at;
    },
    { signal },
  );

  target.addEventListener(
    "pointerup",
    (event) => {
      if (event.pointerId !== pointer) return;
      const at = place(event);
      const ended = draft;
      const moved =
        ended?.kind === "lasso"
          ? ended.path.some((point) => far(point, start) >= CLICK_PX)
          : far(at, start) >= CLICK_PX;
      const clicked = event.button === 0 && !moved;
      if (ended?.kind === "lasso" && far(at, ended.path[ended.path.length - 1]!) > 0) {
        ended.path.push(at);
      }
      finish();
      if (clicked) {
        const double =
          lastClick !== null &&
          event.timeStamp - lastClick.time < DOUBLE_MS &&
          far(lastClick.at, at) < 2 * CLICK_PX;
        lastClick = double ? null : { time: event.timeStamp, at };
        if (double) handlers.doubleClick();
        else handlers.click(at, event);
      } else if (ended) {
        handlers.commit(ended.kind === "box" ? { ...ended, to: at } : ended, event);
      }
    },
    { signal },
  );

  target.addEventListener("pointercancel", finish, { signal });
  target.addEventListener("pointerleave", () => handlers.hover(null), { signal });
  target.addEventListener("blur", () => setSpace(false), { signal });
  target.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
      const turn = Math.max(-240, Math.min(240, event.deltaY * unit));
      handlers.zoom(place(event), Math.exp(-turn * 0.002));
    },
    { signal, passive: false },
  );

  const setSpace = (held: boolean): void => {
    space = held;
    target.classList.toggle("wk-space", held);
  };

  return {
    cancel() {
      const active = pointer !== null;
      if (active) finish();
      return active;
    },
    setSpace,
  };
}
