// The card beside the cursor: at once what the browser knows, the picture when it arrives.

import type { Point } from "../shared/codec.ts";
import { debounce, node } from "../shared/dom.ts";
import { onMessage, send, type Model } from "../shared/model.ts";
import type { Size } from "./camera.ts";

interface Reply {
  kind: "hover";
  index: number;
  lines: [string, string][];
}

interface Card {
  lines: [string, string][];
  url: string | null;
}

/** A pointer that passes over asks for nothing. */
const REST_MS = 120;
const KEPT = 64;

export class HoverCard {
  readonly element = node("div", { class: "wk-hover", hidden: true, "aria-hidden": true });
  private index = -1;
  private at: Point = [0, 0];
  private stage: Size = { width: 0, height: 0 };
  private readonly cards = new Map<number, Card>();
  private readonly ask: ((index: number) => void) & { cancel: () => void };

  constructor(model: Model, signal: AbortSignal) {
    this.ask = debounce((index: number) => send(model, { kind: "hover", index }), REST_MS, signal);
    onMessage<Reply>(model, (reply, buffers) => this.receive(reply, buffers), signal);
    signal.addEventListener("abort", () => this.forget());
  }

  /** The point under the cursor (-1 for none), and what is known of it without asking. */
  show(index: number, known: [string, string][], at: Point, stage: Size): void {
    if (index < 0) return this.hide();
    this.at = at;
    this.stage = stage;
    this.element.hidden = false;
    if (index !== this.index) {
      this.index = index;
      const card = this.cards.get(index);
      this.fill(card?.lines ?? known, card?.url ?? null);
      if (card) this.ask.cancel();
      else this.ask(index);
    } else {
      this.place();
    }
  }

  /** Beside the cursor, on the side and at the height where there is room. */
  private place(): void {
    const [x, y] = this.at;
    const { width, height } = this.stage;
    const { style } = this.element;
    const left = x > width / 2;
    style.left = left ? "" : `${x + 14}px`;
    style.right = left ? `${width - x + 14}px` : "";
    style.top = `${Math.max(2, Math.min(y - 30, height - this.element.offsetHeight - 2))}px`;
  }

  hide(): void {
    this.index = -1;
    this.ask.cancel();
    this.element.hidden = true;
  }

  /** Drops what was asked before: rows or names mean something else now. */
  forget(): void {
    for (const card of this.cards.values()) if (card.url) URL.revokeObjectURL(card.url);
    this.cards.clear();
    this.hide();
  }

  private receive(reply: Reply, buffers: DataView[]): void {
    if (reply.kind !== "hover") return;
    const picture = buffers[0];
    const url = picture
      ? URL.createObjectURL(new Blob([picture as unknown as BlobPart], { type: "image/jpeg" }))
      : null;
    const oldest = this.cards.keys().next().value;
    if (this.cards.size >= KEPT && oldest !== undefined) {
      const gone = this.cards.get(oldest);
      if (gone?.url) URL.revokeObjectURL(gone.url);
      this.cards.delete(oldest);
    }
    this.cards.set(reply.index, { lines: reply.lines, url });
    if (reply.index === this.index) this.fill(reply.lines, url);
  }

  private fill(lines: [string, string][], url: string | null): void {
    const nodes: Node[] = [];
    if (url) {
      // The size is fixed by the style sheet, so the card can be placed before it is decoded.
      const picture = node("img", { alt: "" });
      picture.src = url;
      nodes.push(picture);
    }
    for (const [name, value] of lines) {
      nodes.push(node("div", {}, node("span", { class: "wk-hover-name" }, `${name} `), value));
    }
    this.element.replaceChildren(...nodes);
    this.place();
  }
}
