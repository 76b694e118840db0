/** The gallery: thumbnails of the selected tiles, from which a selection can be made in turn. */

import { bytesOf, decodePositions, decodeRows, encodeRows } from "../shared/codec.ts";
import { fill, lateSaver, range, select } from "../shared/controls.ts";
import { button, grouped, node, perFrame } from "../shared/dom.ts";
import {
  onChange, onMessage, save, send, type Mode as Join, type RenderProps,
} from "../shared/model.ts";
import { CATEGORICAL, NONE_COLOUR } from "../shared/palette.ts";
import { drawn, frame } from "../shared/view.ts";
import css from "./gallery.css";
import { layout, place, reveal, step, visible, type Layout } from "./layout.ts";
import { all, click, keep, NONE, type Picks } from "./picks.ts";
import { levelFor, Thumbs, type Reply } from "./thumbs.ts";

interface Legend {
  name: string;
  colour: number;
}

interface ThumbReply extends Reply {
  captions: string[];
}

interface Cell {
  element: HTMLElement;
  context: CanvasRenderingContext2D;
  row: number;
  drawn: string; // what the canvas holds
}

const RULES = [
  { value: "representative", label: "representative" },
  { value: "score", label: "score of the map's target" },
  { value: "random", label: "random" },
  { value: "first", label: "first" },
];

let serial = 0;

function render(props: RenderProps): () => void {
  const { model } = props;
  const name = `wk-gallery-${++serial}`;
  let order: Uint32Array = new Uint32Array(0);
  let labels: Uint16Array = new Uint16Array(0);
  let legend: Legend[] = [];
  let picks: Picks = NONE;
  let at = 0; // index of the keyboard cursor
  let l: Layout = layout(0, 600, 96);
  // As the observer saw it: while a page changes its theme, a frame may find it without its sizes,
  // and no change is told when they come back before the frame ends.
  let room = { width: 0, height: 0 };
  const captions = new Map<number, string>();
  const cells = new Map<number, Cell>(); // by index in the order

  const [{ root, signal }, cleanUp] = frame(props, "gallery", css, () => redraw());
  const thumbs = new Thumbs(model);
  const write = lateSaver(model, signal);

  const count = node("span", { class: "wk-gallery-count", "aria-live": "polite" });
  const sort = select("sort by", (rule) => save(model, { rule }), signal);
  const again = button(
    {
      label: "Draw other random tiles",
      path: "M13 8a5 5 0 1 1-1.5-3.5M13 2v3h-3",
      onClick: () => save(model, { seed: Number(model.get("seed")) + 1 }),
    },
    signal,
  );
  const size = range(
    model,
    { trait: "size", label: "size", least: 32, most: 192, step: 4 },
    write,
    signal,
  );
  const push = button(
    { label: "Select these in the scatter", key: "Enter; Shift adds, Alt takes away", onClick: (e) => pushPicks(joinOf(e)) },
    signal,
  );
  push.classList.add("wk-gallery-push");
  const tools = node(
    "div",
    { class: "wk-tools", role: "toolbar", "aria-label": "Gallery settings" },
    count, sort.element, again, size.element, push,
  );
  const rule = node("div", { class: "wk-gallery-rule" });
  const content = node("div", { class: "wk-gallery-content" });
  const scroll = node("div", {
    class: "wk-gallery-scroll",
    role: "listbox",
    tabindex: 0,
    "aria-multiselectable": "true",
    "aria-keyshortcuts": "Space Enter K Control+A Escape",
  }, content);
  const empty = node("div", { class: "wk-gallery-empty", hidden: true });
  const caption = node("span");
  const status = node("div", { class: "wk-status", role: "status", title: "k saves the picked tiles, or the selection, as a concept" }, caption);
  root.append(tools, rule, empty, scroll, status);

  // -- picks -------------------------------------------------------------------------------
  const joinOf = (event: { shiftKey: boolean; altKey: boolean }): Join =>
    event.shiftKey && event.altKey
      ? "intersect"
      : event.shiftKey ? "add" : event.altKey ? "subtract" : "replace";

  const setPicks = (next: Picks): void => {
    picks = next;
    save(model, { _picked: new DataView(encodeRows([...picks.rows]).buffer) });
    redraw();
  };
  const pushPicks = (mode: Join): void => {
    if (picks.rows.size) send(model, { kind: "select", mode }, [encodeRows([...picks.rows])]);
  };
  /** What is picked becomes a concept, or the selection while nothing is. */
  const saveAsConcept = (): void =>
    send(model, { kind: "concept" }, picks.rows.size ? [encodeRows([...picks.rows])] : []);
  const goTo = (index: number, tell = true): void => {
    at = Math.min(Math.max(index, 0), Math.max(order.length - 1, 0));
    scroll.scrollTop = reveal(l, at, scroll.scrollTop, scroll.clientHeight - 6);
    if (tell && order.length) send(model, { kind: "focus", row: order[at] });
    say(at);
    redraw();
  };
  const say = (index: number | null): void => {
    const text = index === null ? "" : describe(index);
    caption.textContent = text;
  };
  const describe = (index: number): string => {
    const row = order[index];
    if (row === undefined) return "";
    const parts = [captions.get(row) ?? `tile ${row}`];
    const entry = legend[labels[index]];
    if (entry) parts.push(entry.name);
    return parts.filter(Boolean).join(" · ");
  };
  const colourOf = (index: number): string => {
    const entry = legend[labels[index]];
    if (!entry) return "transparent";
    return entry.colour < 0 ? NONE_COLOUR : CATEGORICAL[entry.colour % CATEGORICAL.length];
  };

  // -- drawing -----------------------------------------------------------------------------
  const makeCell = (): Cell => {
    const canvas = node("canvas", { "aria-hidden": "true" });
    const element = node("div", { class: "wk-thumb", role: "option" }, canvas);
    content.append(element);
    return { element, context: canvas.getContext("2d")!, row: -1, drawn: "" };
  };

  const draw = (): void => {
    const side = Number(model.get("size"));
    const height = Number(model.get("height"));
    const none = order.length === 0;
    empty.textContent = String(model.get("_empty")) || (none ? "No tiles." : "");
    empty.hidden = empty.textContent === "";
    scroll.hidden = none;
    if (none) {
      for (const cell of cells.values()) cell.element.remove();
      cells.clear();
      return finish();
    }
    scroll.style.maxHeight = `${height}px`;
    if (room.width === 0) return; // not on the page, or shown just now: the observer will tell
    l = layout(order.length, room.width, side);
    content.style.height = `${l.height}px`;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const level = levelFor(side, ratio);
    const [from, to] = visible(l, order.length, scroll.scrollTop, Math.min(height, room.height));
    const free: Cell[] = [];
    for (const [index, cell] of cells) {
      if (index >= from && index < to) continue;
      cells.delete(index);
      free.push(cell);
    }
    const missing: number[] = [];
    const focus = Number(model.get("_focus"));
    for (let index = from; index < to; index++) {
      let cell = cells.get(index);
      if (!cell) {
        cell = free.pop() ?? makeCell();
        cells.set(index, cell);
      }
      const row = order[index];
      const { element, context } = cell;
      const [x, y] = place(l, index);
      element.style.cssText = `left:${x}px;top:${y}px;width:${side}px;height:${side}px;border-color:${colourOf(index)}`;
      element.id = `${name}-${index}`;
      element.dataset.row = String(row);
      element.dataset.index = String(index);
      element.setAttribute("aria-selected", String(picks.rows.has(row)));
      element.setAttribute("aria-posinset", String(index + 1));
      element.setAttribute("aria-setsize", String(order.length));
      element.setAttribute("aria-label", describe(index));
      element.classList.toggle("wk-at", index === at && scroll.contains(document.activeElement));
      element.classList.toggle("wk-session-focus", row === focus);
      const thumb = thumbs.get(row, level);
      const key = `${row} ${level} ${Math.round(side * ratio)}`;
      if (!thumb) {
        missing.push(row);
        if (cell.row !== row) context.canvas.width = context.canvas.width; // blank, not another tile
        cell.drawn = "";
      } else if (cell.drawn !== key) {
        context.canvas.width = context.canvas.height = Math.round(side * ratio);
        context.imageSmoothingQuality = "high";
        const { picture, left, top, side: edge } = thumb;
        const whole = context.canvas.width;
        context.drawImage(picture, left, top, edge, edge, 0, 0, whole, whole);
        cell.drawn = key;
      }
      cell.row = row;
    }
    for (const cell of free) cell.element.remove();
    scroll.setAttribute("aria-activedescendant", `${name}-${at}`);
    thumbs.want(missing, level);
    root.dataset.missing = String(missing.length);
    finish();
  };
  const finish = (): void => {
    const total = Number(model.get("_total"));
    const all = Number(model.get("_store_size"));
    const words = String(model.get("_count_text")) || `${grouped(order.length)} of ${grouped(total)}`;
    const picked = picks.rows.size ? `, ${grouped(picks.rows.size)} picked` : "";
    count.textContent = words + picked;
    count.title = `${grouped(total)} tiles chosen from ${grouped(all)}`;
    push.disabled = picks.rows.size === 0;
    rule.textContent = String(model.get("_rule_text"));
    scroll.setAttribute("aria-label", String(model.get("label")));
    drawn(root, "gallery", Number(model.get("_revision")));
  };
  const redraw = perFrame(draw, signal);

  // -- content -----------------------------------------------------------------------------
  const controlsShow = (): void => {
    const chosen = String(model.get("rule"));
    fill(sort.select, RULES, chosen);
    again.hidden = chosen !== "random";
  };
  const update = (): void => {
    order = decodeRows(model.get("_rows") as DataView | null);
    labels = decodePositions(model.get("_labels") as DataView | null);
    legend = (model.get("_legend") ?? []) as Legend[];
    controlsShow();
    redraw();
  };
  const reorder = (): void => {
    const before = order[at];
    update();
    const kept = keep(picks, order);
    if (kept.rows.size !== picks.rows.size) setPicks(kept);
    else picks = kept;
    const found = order.indexOf(before ?? -1);
    at = found < 0 ? 0 : found;
    if (found < 0) scroll.scrollTop = 0;
  };

  // -- input -------------------------------------------------------------------------------
  const indexOf = (target: EventTarget | null): number => {
    const element = target instanceof Element ? target.closest<HTMLElement>(".wk-thumb") : null;
    return element ? Number(element.dataset.index) : -1;
  };
  content.addEventListener(
    "click",
    (event) => {
      const index = indexOf(event.target);
      if (index < 0) return;
      setPicks(click(picks, order, index, { ctrl: event.ctrlKey || event.metaKey, shift: event.shiftKey }));
      goTo(index);
    },
    { signal },
  );
  content.addEventListener("dblclick", (event) => {
    const index = indexOf(event.target);
    if (index < 0) return;
    setPicks({ rows: new Set([order[index]]), anchor: index });
    pushPicks(joinOf(event));
  }, { signal });
  content.addEventListener("pointermove", (event) => {
    const index = indexOf(event.target);
    say(index < 0 ? null : index);
  }, { signal });
  content.addEventListener("pointerleave", () => say(null), { signal });
  scroll.addEventListener("scroll", redraw, { signal, passive: true });
  for (const event of ["focus", "blur"] as const) scroll.addEventListener(event, redraw, { signal });

  scroll.addEventListener("keydown", (event) => {
    const ctrl = event.ctrlKey || event.metaKey;
    let used = true;
    if (ctrl && event.key.toLowerCase() === "a") setPicks(all(order));
    else if (event.key === "Escape") setPicks(NONE);
    else if (event.key === " ") setPicks(click(picks, order, at, { ctrl: true, shift: event.shiftKey }));
    else if (event.key === "Enter") {
      if (picks.rows.size === 0 && order.length) setPicks({ rows: new Set([order[at]]), anchor: at });
      pushPicks(joinOf(event));
    } else if (event.key.toLowerCase() === "k" && !ctrl && !event.altKey) {
      if (!event.repeat) saveAsConcept();
    } else if (/^(Arrow|Home$|End$|Page)/.test(event.key)) {
      const pageRows = Math.max(1, Math.floor(scroll.clientHeight / l.pitch));
      const next = step(l, order.length, at, event.key, pageRows);
      if (event.shiftKey) {
        const from = picks.anchor < 0 ? { ...picks, anchor: at } : picks;
        setPicks(click(from, order, next, { ctrl: false, shift: true }));
      }
      goTo(next);
    } else used = false;
    if (used) {
      event.preventDefault();
      event.stopPropagation(); // the notebook has its own meaning for these keys
    }
  }, { signal });

  onMessage<{ kind: string; name: string; tiles: number }>(model, (message) => {
    if (message.kind !== "concept") return;
    caption.textContent = `${grouped(message.tiles)} tiles saved as ${message.name}`;
  }, signal);
  onMessage<ThumbReply>(model, (message, buffers) => {
    if (message.kind !== "thumbs") return;
    message.rows.forEach((row, i) => captions.set(row, message.captions[i] ?? ""));
    void thumbs.take(message, bytesOf(buffers[0])).then((good) => {
      if (signal.aborted) return;
      if (good) redraw();
      else if (message.mime !== "raw/rgb") send(model, { kind: "raw" }); // the kernel sends them unpacked
    });
  }, signal);
    onChange(model, ["_rows"], reorder, signal);
  onChange(model, ["_labels", "_legend", "_revision", "rule"], update, signal);
  onChange(model, ["_rule_text", "_count_text", "label", "size", "height", "_focus", "_empty"], redraw, signal);
  const observer = new ResizeObserver(() => {
    room = { width: content.clientWidth, height: scroll.clientHeight };
    redraw();
  });
  observer.observe(scroll);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    thumbs.clear();
  });
  picks = { rows: new Set(decodeRows(model.get("_picked") as DataView | null)), anchor: -1 };
  update();
  return cleanUp;
}

export default { render };
