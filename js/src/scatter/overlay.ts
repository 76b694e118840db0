// What is drawn over the points, on a canvas of its own: moving a lasso redraws no point.

import type { Point } from "../shared/codec.ts";
import type { Draft } from "./gestures.ts";

export interface Marks {
  draft: Draft | null;
  /** A gesture that was sent and not yet answered. */
  sent: Draft | null;
  /** Pixels of the point under the cursor, and of the focused tile. */
  hover: Point | null;
  focus: Point | null;
  accent: string;
  ground: string;
}

function outline(context: CanvasRenderingContext2D, draft: Draft): void {
  context.beginPath();
  if (draft.kind === "box") {
    context.rect(
      draft.from[0],
      draft.from[1],
      draft.to[0] - draft.from[0],
      draft.to[1] - draft.from[1],
    );
  } else {
    for (const [x, y] of draft.path) context.lineTo(x, y);
    context.closePath();
  }
}

/** A ring in two tones, so that it shows on any ground. */
function ring(
  context: CanvasRenderingContext2D,
  at: Point,
  radius: number,
  inner: string,
  outer: string,
): void {
  for (const [width, style] of [
    [4, outer],
    [2, inner],
  ] as const) {
    context.beginPath();
    context.arc(at[0], at[1], radius, 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = style;
    context.stroke();
  }
}

export function drawMarks(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  ratio: number,
  marks: Marks,
): void {
  const context = canvas.getContext("2d");
  if (!context) return;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const draft = marks.draft ?? marks.sent;
  if (draft) {
    outline(context, draft);
    context.globalAlpha = marks.draft ? 0.14 : 0.06;
    context.fillStyle = marks.accent;
    context.fill("evenodd");
    context.globalAlpha = marks.draft ? 1 : 0.5;
    context.lineWidth = 1.5;
    context.strokeStyle = marks.accent;
    context.stroke();
    context.globalAlpha = 1;
  }
  if (marks.focus) ring(context, marks.focus, 8, marks.accent, marks.ground);
  if (marks.hover) ring(context, marks.hover, 6, marks.accent, marks.ground);
}
