/** Which tiles are picked inside the gallery: click, Ctrl-click, Shift-click, as lists do. Pure. */

export interface Picks {
  readonly rows: ReadonlySet<number>; // tile numbers
  readonly anchor: number; // index in the shown order from which Shift extends, -1 if none
}

export const NONE: Picks = { rows: new Set(), anchor: -1 };

/** The picks after a click on `index`; a plain click on the only pick lets it go. */
export function click(
  picks: Picks,
  order: ArrayLike<number>,
  index: number,
  keys: { ctrl: boolean; shift: boolean },
): Picks {
  if (index < 0 || index >= order.length) return picks;
  const row = order[index];
  if (keys.shift && picks.anchor >= 0 && picks.anchor < order.length) {
    const rows = keys.ctrl ? new Set(picks.rows) : new Set<number>();
    const [from, to] = picks.anchor < index ? [picks.anchor, index] : [index, picks.anchor];
    for (let i = from; i <= to; i++) rows.add(order[i]);
    return { rows, anchor: picks.anchor };
  }
  if (keys.ctrl) {
    const rows = new Set(picks.rows);
    if (!rows.delete(row)) rows.add(row);
    return { rows, anchor: index };
  }
  if (picks.rows.size === 1 && picks.rows.has(row)) return { rows: new Set(), anchor: index };
  return { rows: new Set([row]), anchor: index };
}

/** Everything that is shown. */
export function all(order: ArrayLike<number>): Picks {
  return { rows: new Set(Array.from(order)), anchor: 0 };
}

/** Picks that are still shown after the order changed. */
export function keep(picks: Picks, order: ArrayLike<number>): Picks {
  const shown = new Set(Array.from(order));
  return { rows: new Set([...picks.rows].filter((row) => shown.has(row))), anchor: -1 };
}
