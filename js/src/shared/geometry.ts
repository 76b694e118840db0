// Plane geometry without any notion of a view; what the kernel repeats exactly is in codec.ts.

import type { Point } from "./codec.ts";

/** Even-odd rule, for tests and small jobs; selections are decided in the kernel. */
export function inside(polygon: readonly Point[], x: number, y: number): boolean {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i]!;
    const [xj, yj] = polygon[j]!;
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

function distanceToSegment(p: Point, a: Point, b: Point): number {
  const dx = b[0] - a[0];
  const dy = b[1] - a[1];
  const length = dx * dx + dy * dy;
  const t = length > 0 ? ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length : 0;
  const s = Math.min(1, Math.max(0, t));
  return Math.hypot(p[0] - a[0] - s * dx, p[1] - a[1] - s * dy);
}

/** Douglas and Peucker (1973): the vertices that lie farther than `tolerance` from the rest. */
function thin(points: readonly Point[], tolerance: number): Point[] {
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const stack: [number, number][] = [[0, points.length - 1]];
  while (stack.length > 0) {
    const [first, last] = stack.pop()!;
    let worst = tolerance;
    let index = -1;
    for (let i = first + 1; i < last; i++) {
      const distance = distanceToSegment(points[i]!, points[first]!, points[last]!);
      if (distance > worst) {
        worst = distance;
        index = i;
      }
    }
    if (index > 0) {
      keep[index] = 1;
      stack.push([first, index], [index, last]);
    }
  }
  return points.filter((_, i) => keep[i]);
}

/** At most `most` vertices; starts at `tolerance` and doubles it only while too many remain. */
export function simplify(points: readonly Point[], tolerance: number, most: number): Point[] {
  if (points.length < 4) return [...points];
  let out = thin(points, tolerance);
  for (let wider = tolerance * 2; out.length > most; wider *= 2) out = thin(points, wider);
  return out;
}

/**
 * Twice the area that the line sweeps, seen from its first vertex: 0 only for a line or a dot.
 * The enclosed area would not do: the loops of a figure eight cancel each other.
 */
export function sweep(path: readonly Point[]): number {
  let sum = 0;
  for (let i = 1; i + 1 < path.length; i++) {
    const [ax, ay] = [path[i]![0] - path[0]![0], path[i]![1] - path[0]![1]];
    const [bx, by] = [path[i + 1]![0] - path[0]![0], path[i + 1]![1] - path[0]![1]];
    sum += Math.abs(ax * by - bx * ay);
  }
  return sum;
}
