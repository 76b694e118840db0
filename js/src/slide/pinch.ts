// Two fingers: move and zoom at once. One finger is left to the gestures of the mouse.

import type { Point } from "../shared/codec.ts";

export interface PinchHandlers {
  /** The second finger came down: what the first had begun is dropped. */
  begin(): void;
  /** Moved by `dx, dy` and zoomed by `factor` around `at`, CSS pixels. */
  move(dx: number, dy: number, factor: number, at: Point): void;
}

export interface Pinch {
  /** Whether two fingers are down, or one of two still is. */
  active(): boolean;
}

/** What two fingers did between two moments. */
export function pinched(
  before: readonly [Point, Point],
  after: readonly [Point, Point],
): { dx: number; dy: number; factor: number; at: Point } {
  const middle = ([a, b]: readonly [Point, Point]): Point => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const apart = ([a, b]: readonly [Point, Point]): number => Math.hypot(a[0] - b[0], a[1] - b[1]);
  const [from, to] = [middle(before), middle(after)];
  // fingers that almost touch would make any movement a leap
  const factor = Math.max(1, apart(after)) / Math.max(1, apart(before));
  return { dx: to[0] - from[0], dy: to[1] - from[1], factor, at: to };
}

export function pinch(target: HTMLElement, handlers: PinchHandlers, signal: AbortSignal): Pinch {
  const fingers = new Map<number, Point>();
  let both = false;
  const place = (event: PointerEvent): Point => {
    const box = target.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const pair = (): [Point, Point] => [...fingers.values()].slice(0, 2) as [Point, Point];
  // In the capture phase, before the gestures of one pointer see the event.
  const options = { signal, capture: true };
  target.addEventListener(
    "pointerdown",
    (event) => {
      if (event.pointerType !== "touch") return;
      fingers.set(event.pointerId, place(event));
      if (fingers.size < 2) return;
      event.stopPropagation();
      if (!both) handlers.begin();
      both = true;
    },
    options,
  );
  target.addEventListener(
    "pointermove",
    (event) => {
      if (!fingers.has(event.pointerId)) return;
      const before = pair();
      fingers.set(event.pointerId, place(event));
      if (!both) return;
      event.stopPropagation();
      if (fingers.size < 2) return;
      const { dx, dy, factor, at } = pinched(before, pair());
      handlers.move(dx, dy, factor, at);
    },
    options,
  );
  for (const kind of ["pointerup", "pointercancel"] as const) {
    target.addEventListener(
      kind,
      (event) => {
        if (!fingers.delete(event.pointerId) || !both) return;
        event.stopPropagation();
        if (fingers.size === 0) both = false;
      },
      options,
    );
  }
  return { active: () => both };
}
