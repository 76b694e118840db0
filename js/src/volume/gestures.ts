// Pointer and wheel on one plane, as what they mean. The view decides what to do with it.

import type { Point } from "../shared/codec.ts";
import { wheelSteps } from "./geometry.ts";
import { dragOf, type Tool } from "./keys.ts";

export interface Keys {
  readonly shiftKey: boolean;
  readonly altKey: boolean;
}

export interface Handlers {
  tool(): Tool;
  windowHeld(): boolean;
  /** A drag begins (a click is one that does not move). */
  begin(what: Tool, at: Point): void;
  move(what: Tool, from: Point, to: Point, last: Point): void;
  end(what: Tool, from: Point, to: Point, keys: Keys): void;
  cancel(what: Tool): void;
  wheel(steps: number): void;
  zoom(factor: number, at: Point): void;
  hover(at: Point | null): void;
}

export interface Hand {
  /** Drops what is being dragged; false where nothing is. */
  cancel(): boolean;
}

export function gestures(stage: HTMLElement, handlers: Handlers, signal: AbortSignal): Hand {
  let drag: { what: Tool; pointer: number; from: Point; last: Point } | null = null;
  let gathered = 0;
  const place = (event: MouseEvent): Point => {
    const box = stage.getBoundingClientRect();
    // zoomed pages scale the box
    const [sx, sy] = [stage.clientWidth / (box.width || 1), stage.clientHeight / (box.height || 1)];
    return [(event.clientX - box.left) * sx, (event.clientY - box.top) * sy];
  };
  const on = <K extends keyof HTMLElementEventMap>(
    name: K, listener: (event: HTMLElementEventMap[K]) => void, passive = true,
  ): void => stage.addEventListener(name, listener, { signal, passive });

  const drop = (): boolean => {
    if (!drag) return false;
    const { what, pointer } = drag;
    drag = null;
    if (stage.hasPointerCapture(pointer)) stage.releasePointerCapture(pointer);
    handlers.cancel(what);
    return true;
  };

  on("pointerdown", (event) => {
    if (drag) return;
    const what = dragOf(event, handlers.tool(), handlers.windowHeld());
    if (!what) return;
    if (event.button === 1) event.preventDefault(); // no automatic scrolling
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    const at = place(event);
    drag = { what, pointer: event.pointerId, from: at, last: at };
    handlers.begin(what, at);
  }, false);
  on("pointermove", (event) => {
    const at = place(event);
    if (drag && drag.pointer === event.pointerId) {
      handlers.move(drag.what, drag.from, at, drag.last);
      drag.last = at;
    }
    handlers.hover(at);
  });
  on("pointerup", (event) => {
    if (!drag || drag.pointer !== event.pointerId) return;
    const { what, from } = drag;
    drag = null;
    handlers.end(what, from, place(event), event);
  });
  on("pointercancel", () => void drop());
  on("pointerleave", () => {
    if (!drag) handlers.hover(null);
  });
  // the right button is ours: no menu of the browser, and none of JupyterLab, which listens further
  // up; elsewhere in the view the page keeps its menu
  on("contextmenu", (event) => {
    event.preventDefault();
    event.stopPropagation();
  }, false);
  on("wheel", (event) => {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) {
      handlers.zoom(1.0015 ** -event.deltaY, place(event));
      return;
    }
    const { steps, rest } = wheelSteps(gathered, event.deltaY, event.deltaMode);
    gathered = rest;
    if (steps) handlers.wheel(steps);
  }, false);
  signal.addEventListener("abort", () => void drop());
  return { cancel: drop };
}
