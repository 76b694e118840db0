// The slides of the store as a row of thumbnails; only those in sight exist in the page.

import { bytesOf } from "../shared/codec.ts";
import { debounce, node, perFrame } from "../shared/dom.ts";
import { onMessage, send, type Model } from "../shared/model.ts";
import { decodeSheet, release, tileOrigin, type Picture, type SheetInfo } from "../shared/sheet.ts";
import { Recent } from "../gallery/cache.ts";

/** Side of a thumbnail and the way from one to the next, CSS pixels. */
export const SIDE = 64;
export const PITCH = 76;
/** Thumbnails in one request: opening a slide takes the kernel a while. */
const PAGE = 8;
/** Pages kept. */
const PAGES = 40;
const REST_MS = 120;
const PATIENCE_MS = 30_000;

/** Half-open range of the slides in sight, with one more on either side. */
export function inSight(count: number, scrolled: number, width: number): [number, number] {
  const first = Math.max(0, Math.floor(scrolled / PITCH) - 1);
  return [Math.min(first, count), Math.min(count, Math.ceil((scrolled + width) / PITCH) + 1)];
}

/** Where a key leads from a slide; null for other keys. */
export function stepOf(key: string, at: number, count: number, page: number): number | null {
  const moves: Record<string, number> = {
    ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1,
    PageUp: -page, PageDown: page, Home: -count, End: count,
  };
  const move = moves[key];
  return move === undefined ? null : Math.min(count - 1, Math.max(0, at + move));
}

interface Reply extends SheetInfo {
  kind: "strip";
  version: number;
  slides: number[];
  names: string[];
  tiles: number[];
}

interface Page {
  id: string;
  picture: Picture;
  info: Reply;
}

interface Known {
  name: string;
  tiles: number;
  page: string;
  index: number;
}

export class Strip {
  readonly element = node("div", {
    class: "wk-slide-strip", role: "listbox", tabindex: 0, "aria-label": "Slides", hidden: true,
    "aria-orientation": "horizontal",
  });
  private readonly content = node("div", { class: "wk-slide-strip-content" });
  private readonly pages: Recent<Page>;
  private readonly known = new Map<number, Known>();
  private readonly asked = new Set<number>();
  private askedAt = 0;
  private readonly items = new Map<number, HTMLElement>();
  private readonly id = `wk-strip-${Math.random().toString(36).slice(2, 8)}`;
  private count = 0;
  private at = -1;
  private version = 0;
  private shares: Uint8Array = new Uint8Array(0);
  private serial = 0;
  private readonly redraw: () => void;
  private readonly ask: () => void;

  constructor(
    private readonly model: Model,
    private readonly choose: (slide: number) => void,
    private readonly signal: AbortSignal,
  ) {
    this.pages = new Recent<Page>(PAGES, (page) => {
      for (const slide of page.info.slides) {
        if (this.known.get(slide)?.page === page.id) this.known.delete(slide);
      }
      release(page.picture);
    });
    this.redraw = perFrame(() => this.draw(), signal);
    this.ask = debounce(() => this.request(), REST_MS, signal);
    this.element.append(this.content);
    this.element.addEventListener("scroll", this.redraw, { signal, passive: true });
    this.element.addEventListener("click", (event) => this.clicked(event), { signal });
    this.element.addEventListener("keydown", (event) => this.key(event), { signal });
    this.element.addEventListener("wheel", (event) => this.wheel(event), { signal, passive: false });
    onMessage<Reply>(model, (reply, buffers) => void this.take(reply, buffers), signal);
    const observer = new ResizeObserver(this.redraw);
    observer.observe(this.element);
    signal.addEventListener("abort", () => {
      observer.disconnect();
      this.clear();
    });
  }

  /** What there is: slides, the one shown, and of each how much is selected (0 none, 255 all). */
  show(count: number, at: number, version: number, shares: Uint8Array): void {
    if (version !== this.version || count !== this.count) this.clear();
    const moved = at !== this.at;
    Object.assign(this, { count, at, version, shares });
    this.element.hidden = count < 2;
    this.content.style.width = `${count * PITCH}px`;
    if (moved) this.reveal();
    this.redraw();
  }

  private reveal(): void {
    const left = this.at * PITCH;
    const { scrollLeft, clientWidth } = this.element;
    if (left < scrollLeft) this.element.scrollLeft = left;
    else if (left + PITCH > scrollLeft + clientWidth) {
      this.element.scrollLeft = left + PITCH - clientWidth;
    }
  }

  private clear(): void {
    this.pages.clear();
    this.known.clear();
    this.asked.clear();
    for (const item of this.items.values()) item.remove();
    this.items.clear();
  }

  private draw(): void {
    if (this.element.hidden) return;
    const [from, to] = inSight(this.count, this.element.scrollLeft, this.element.clientWidth);
    for (const [slide, item] of this.items) {
      if (slide >= from && slide < to) continue;
      item.remove();
      this.items.delete(slide);
    }
    let missing = false;
    for (let slide = from; slide < to; slide++) {
      const item = this.items.get(slide) ?? this.make(slide);
      missing = !this.fill(item, slide) || missing;
    }
    if (this.at >= 0) this.element.setAttribute("aria-activedescendant", `${this.id}-${this.at}`);
    if (missing) this.ask();
  }

  private make(slide: number): HTMLElement {
    const canvas = node("canvas", { width: 2 * SIDE, height: 2 * SIDE, "aria-hidden": true });
    const item = node(
      "div",
      {
        class: "wk-slide-thumb", role: "option", id: `${this.id}-${slide}`, "data-slide": slide,
        "aria-posinset": slide + 1, "aria-setsize": this.count,
      },
      canvas,
      node("i", { class: "wk-slide-share" }),
      node("span", { class: "wk-slide-thumb-name" }),
    );
    item.style.left = `${slide * PITCH}px`;
    this.items.set(slide, item);
    this.content.append(item);
    return item;
  }

  /** False while its picture is not there. */
  private fill(item: HTMLElement, slide: number): boolean {
    const [canvas, share, label] = item.children as unknown as [
      HTMLCanvasElement, HTMLElement, HTMLElement,
    ];
    item.setAttribute("aria-selected", String(slide === this.at));
    const part = (this.shares[slide] ?? 0) / 255;
    share.style.width = part > 0 ? `${Math.max(4, part * SIDE)}px` : "0";
    const known = this.known.get(slide);
    const name = known?.name ?? `slide ${slide + 1}`;
    const words = [name];
    if (known) words.push(`${known.tiles} tile${known.tiles === 1 ? "" : "s"}`);
    if (part > 0) words.push(`${Math.max(1, Math.round(part * 100))} % selected`);
    item.title = words.join(", ");
    item.setAttribute("aria-label", words.join(", "));
    if (label.textContent !== name) label.textContent = name;
    const page = known && this.pages.get(known.page);
    if (!known || !page) return false;
    if (item.dataset.page === known.page) return true;
    item.dataset.page = known.page;
    const context = canvas.getContext("2d");
    const [left, top] = tileOrigin(page.info, known.index);
    context?.drawImage(
      page.picture, left, top, page.info.tile, page.info.tile, 0, 0, canvas.width, canvas.height,
    );
    return true;
  }

  private request(): void {
    if (this.signal.aborted || this.element.hidden) return;
    const [from, to] = inSight(this.count, this.element.scrollLeft, this.element.clientWidth);
    // what was asked for so long ago is not answered any more: the kernel was interrupted
    if (performance.now() - this.askedAt > PATIENCE_MS) this.asked.clear();
    const missing: number[] = [];
    for (let slide = from; slide < to; slide++) {
      if (!this.known.has(slide) && !this.asked.has(slide)) missing.push(slide);
    }
    // one page at a time: a strip that is scrolled on asks for what is in sight then
    if (missing.length === 0 || this.asked.size > 0) return;
    const slides = missing.slice(0, PAGE);
    for (const slide of slides) this.asked.add(slide);
    this.askedAt = performance.now();
    send(this.model, { kind: "strip", version: this.version, slides });
  }

  private async take(reply: Reply, buffers: DataView[]): Promise<void> {
    if (reply.kind !== "strip" || reply.version !== this.version) return;
    const id = String(++this.serial);
    let picture: Picture | null = null;
    try {
      picture = await decodeSheet(bytesOf(buffers[0]), reply);
    } catch {
      picture = document.createElement("canvas"); // names without pictures are better than none
    }
    if (reply.version !== this.version || this.signal.aborted) return release(picture);
    reply.slides.forEach((slide, index) => {
      this.asked.delete(slide);
      this.known.set(slide, {
        name: reply.names[index] ?? "", tiles: reply.tiles[index] ?? 0, page: id, index,
      });
    });
    this.pages.set(id, { id, picture, info: reply });
    this.redraw();
  }

  private clicked(event: MouseEvent): void {
    const target = event.target instanceof Element ? event.target : null;
    const item = target?.closest<HTMLElement>(".wk-slide-thumb");
    if (item) this.choose(Number(item.dataset.slide));
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientWidth / PITCH));
    const next = stepOf(event.key, this.at, this.count, page);
    if (next === null) return;
    event.preventDefault();
    event.stopPropagation();
    if (next !== this.at) this.choose(next);
  }

  /** A wheel turns sideways here, until the end; then the page scrolls again. */
  private wheel(event: WheelEvent): void {
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const before = this.element.scrollLeft;
    this.element.scrollLeft += event.deltaY;
    if (this.element.scrollLeft !== before) event.preventDefault();
  }
}
