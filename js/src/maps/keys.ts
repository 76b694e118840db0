/** Which keys are the map viewer's, so that the notebook must not act on them. */

/** On the tiles: moving, the cell cursor, the brush, what is shown, what the brush is an example of. */
const TILES = /^(Arrow(Left|Right|Up|Down)|Home|End|Enter| |Escape|m|M|k|K)$/;

/**
 * Whether a key pressed on an element of this tag is ours. Lists, sliders and fields take all but
 * Tab and Escape: JupyterLab would move to another cell on an arrow, and delete cells on letters.
 */
export function isOurs(
  tag: string,
  event: { key: string; ctrlKey: boolean; metaKey: boolean },
): boolean {
  if (event.ctrlKey || event.metaKey) return false;
  if (/^(SELECT|INPUT)$/.test(tag)) return event.key !== "Tab" && event.key !== "Escape";
  if (tag === "BUTTON") return event.key === "Enter" || event.key === " ";
  return tag === "CANVAS" && TILES.test(event.key);
}
