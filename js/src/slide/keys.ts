// Which key does what on the slide: the scatter's keys, and those that only a slide needs.

import { actionOf as inScatter, type Action as Shared } from "../scatter/keys.ts";

export type Action =
  | Shared
  | { do: "slide"; step: number }
  | { do: "map" | "selection" };

const OWN: Record<string, Action> = {
  pagedown: { do: "slide", step: 1 },
  pageup: { do: "slide", step: -1 },
  m: { do: "map" },
  z: { do: "selection" },
};

/** What a key means while the slide has the focus; null leaves it to the page. */
export function actionOf(event: KeyboardEvent): Action | null {
  const key = event.key.toLowerCase();
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (plain && Object.hasOwn(OWN, key)) return OWN[key]!;
  return inScatter(event);
}
