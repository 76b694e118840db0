// The picture of the view, on a 2-D canvas: tiles of the slide, the map, the selection.

import { bit, type Bounds, type Point } from "../shared/codec.ts";
import type { Draft } from "../scatter/gestures.ts";
import { toPixel, visible, type Camera, type Size } from "./camera.ts";
import { cellsIn, CHOSEN, coverage, outline, TILE, type Cells, type Coverage } from "./cells.ts";
import { boxOf, levelFor, tilesIn, type Pyramid, type TileAt } from "./pyramid.ts";
import type { SlideTiles } from "./tiles.ts";

/** How the selection is shown. */
export type Marking = "dim" | "outline" | "off";

/** Something to draw over a part of the slide. */
export interface Layer {
  readonly picture: HTMLCanvasElement;
  readonly view: Bounds;
}

export interface Scene {
  readonly slide: number;
  readonly pyramid: Pyramid | null;
  readonly tiles: SlideTiles;
  readonly camera: Camera;
  readonly size: Size;
  readonly ratio: number;
  readonly map: Layer | null;
  readonly opacity: number;
  readonly smooth: boolean;
  readonly selection: SelectionPicture;
  readonly marking: Marking;
  readonly ground: string;
  readonly accent: string;
}

/** Over unselected tiles: grey, so that it dims stained and fluorescent slides alike. */
const VEIL: readonly number[] = [128, 128, 128, 140];
/** Tiles outlined one by one; more are shown as a picture of them. */
const OUTLINED_MOST = 6000;
/** Tiles smaller than this on the screen have no outline of their own, CSS pixels. */
const OUTLINED_PX = 5;

/** Draws what of a layer is seen. Only that part: far outside, browsers lose precision. */
export function drawLayer(
  context: CanvasRenderingContext2D,
  layer: Layer,
  camera: Camera,
  size: Size,
  ratio: number,
  smooth: boolean,
): void {
  const { picture, view } = layer;
  const seen = visible(camera, size);
  const [px, py] = [(view[2] - view[0]) / picture.width, (view[3] - view[1]) / picture.height];
  // two pixels more than is seen, which smoothing reads
  const left = Math.max(0, Math.floor((seen[0] - view[0]) / px) - 2);
  const top = Math.max(0, Math.floor((seen[1] - view[1]) / py) - 2);
  const right = Math.min(picture.width, Math.ceil((seen[2] - view[0]) / px) + 2);
  const bottom = Math.min(picture.height, Math.ceil((seen[3] - view[1]) / py) + 2);
  if (right <= left || bottom <= top) return;
  const [x0, y0] = toPixel(camera, size, [view[0] + left * px, view[1] + top * py]);
  const [x1, y1] = toPixel(camera, size, [view[0] + right * px, view[1] + bottom * py]);
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "medium";
  context.drawImage(
    picture, left, top, right - left, bottom - top,
    x0 * ratio, y0 * ratio, (x1 - x0) * ratio, (y1 - y0) * ratio,
  );
}

/** Tiles that the view needs, most needed first: the overview, what is seen, what is next to it. */
export function needed(p: Pyramid, camera: Camera, size: Size, ratio: number): TileAt[] {
  const level = levelFor(p, camera.scale * ratio);
  const last = p.levels.length - 1;
  const seen = visible(camera, size);
  const here = tilesIn(p, level, seen);
  const inView = new Set(here.map((t) => `${t.column},${t.row}`));
  const around = tilesIn(p, level, seen, 1).filter((t) => !inView.has(`${t.column},${t.row}`));
  const overview = level === last ? [] : tilesIn(p, last, [0, 0, p.width, p.height]).slice(0, 16);
  return [...overview, ...here, ...around];
}

/** Draws the slide; how many tiles of the view's level are not there yet. */
function drawSlide(context: CanvasRenderingContext2D, scene: Scene): number {
  const { pyramid: p, camera, size, ratio, slide, tiles } = scene;
  if (!p) return 0;
  const level = levelFor(p, camera.scale * ratio);
  const seen = visible(camera, size);
  const here = tilesIn(p, level, seen);
  const missing = here.filter((tile) => !tiles.get(slide, tile) && !tiles.failed(slide, tile)).length;
  const whole = here.every((tile) => tiles.get(slide, tile));
  context.imageSmoothingEnabled = camera.scale * ratio < 4; // pixels are seen as pixels close by
  context.imageSmoothingQuality = "medium";
  const edge = ([x, y]: Point): Point => {
    const [px, py] = toPixel(camera, size, [x, y]);
    return [Math.round(px * ratio), Math.round(py * ratio)];
  };
  for (let at = whole ? level : p.levels.length - 1; at >= level; at--) {
    for (const tile of at === level ? here : tilesIn(p, at, seen)) {
      const bitmap = tiles.get(slide, tile);
      if (!bitmap) continue;
      const box = boxOf(p, tile);
      // neighbours share their rounded edge: no seam and no overlap
      const [x0, y0] = edge([box[0], box[1]]);
      const [x1, y1] = edge([box[2], box[3]]);
      context.drawImage(bitmap, x0, y0, x1 - x0, y1 - y0);
    }
  }
  return missing;
}

/** The selection on the slide, kept as pictures and lines between two changes. */
export class SelectionPicture {
  private made: { layer: Layer; exact: boolean; marking: Marking; accent: string } | null = null;
  private lines: { region: Bounds; segments: number[][] } | null = null;
  private cells: Cells | null = null;
  private mask: Uint8Array = new Uint8Array(0);
  private any = false;
  private scratch: HTMLCanvasElement | null = null;

  set(cells: Cells | null, mask: Uint8Array, any: boolean): void {
    this.cells = cells;
    this.mask = mask;
    this.any = any;
    this.made = null;
    this.lines = null;
  }

  draw(context: CanvasRenderingContext2D, scene: Scene): void {
    const { cells } = this;
    const { camera, size, marking } = scene;
    if (!cells || !cells.count || !this.any || marking === "off") return;
    const seen = visible(camera, size);
    const small = Math.min(cells.width, cells.height) * camera.scale < OUTLINED_PX;
    const shown = small ? null : cellsIn(cells, seen, OUTLINED_MOST);
    if (marking === "dim") {
      const layer = this.layer(cells, "dim", scene.accent);
      if (!layer.exact && shown) this.veil(context, scene, cells, shown);
      else drawLayer(context, layer.layer, camera, size, scene.ratio, false);
    } else if (!shown) {
      drawLayer(context, this.layer(cells, "outline", scene.accent).layer, camera, size, scene.ratio, false);
    }
    if (shown) this.stroke(context, scene, this.segments(cells, seen));
  }

  private layer(cells: Cells, marking: Marking, accent: string): { layer: Layer; exact: boolean } {
    if (this.made?.marking !== marking || this.made.accent !== accent) {
      const found = coverage(cells, this.mask);
      this.made = { layer: paintCoverage(found, marking, accent), exact: found.exact, marking, accent };
    }
    return this.made;
  }

  /** Tiles that overlap: the veil leaves out what any selected one covers. */
  private veil(
    context: CanvasRenderingContext2D,
    { camera, size, ratio }: Scene,
    cells: Cells,
    shown: readonly number[],
  ): void {
    const canvas = (this.scratch ??= document.createElement("canvas"));
    if (canvas.width !== context.canvas.width) canvas.width = context.canvas.width;
    if (canvas.height !== context.canvas.height) canvas.height = context.canvas.height;
    const own = canvas.getContext("2d");
    if (!own) return;
    own.clearRect(0, 0, canvas.width, canvas.height);
    own.fillStyle = `rgb(${VEIL.slice(0, 3).join(",")})`;
    for (const chosen of [false, true]) {
      own.globalCompositeOperation = chosen ? "destination-out" : "source-over";
      for (const i of shown) {
        if (bit(this.mask, i) !== chosen) continue;
        const [x0, y0] = toPixel(camera, size, [cells.boxes[4 * i]!, cells.boxes[4 * i + 1]!]);
        const [x1, y1] = toPixel(camera, size, [cells.boxes[4 * i + 2]!, cells.boxes[4 * i + 3]!]);
        own.fillRect(x0 * ratio, y0 * ratio, (x1 - x0) * ratio, (y1 - y0) * ratio);
      }
    }
    context.globalAlpha = VEIL[3]! / 255;
    context.drawImage(canvas, 0, 0);
    context.globalAlpha = 1;
  }

  /** Segments around what is seen and half as much again, so that a pan finds them made. */
  private segments(cells: Cells, seen: Bounds): number[][] {
    const { lines } = this;
    if (
      lines && seen[0] >= lines.region[0] && seen[1] >= lines.region[1] &&
      seen[2] <= lines.region[2] && seen[3] <= lines.region[3] &&
      seen[2] - seen[0] > (lines.region[2] - lines.region[0]) / 4
    ) {
      return lines.segments;
    }
    const [w, h] = [(seen[2] - seen[0]) / 2, (seen[3] - seen[1]) / 2];
    const region: Bounds = [seen[0] - w, seen[1] - h, seen[2] + w, seen[3] + h];
    const segments = outline(cells, this.mask, cellsIn(cells, region) ?? []);
    this.lines = { region, segments };
    return segments;
  }

  private stroke(context: CanvasRenderingContext2D, scene: Scene, segments: readonly number[][]): void {
    const { camera, size, ratio } = scene;
    context.beginPath();
    for (const [x0, y0, x1, y1] of segments as [number, number, number, number][]) {
      const [ax, ay] = toPixel(camera, size, [x0, y0]);
      const [bx, by] = toPixel(camera, size, [x1, y1]);
      context.moveTo(ax * ratio, ay * ratio);
      context.lineTo(bx * ratio, by * ratio);
    }
    // two tones, so that it shows on tissue, glass and map
    context.lineCap = "square";
    for (const [width, style] of [[3.5, "#ffffff"], [1.5, "#000000"]] as const) {
      context.lineWidth = width * ratio;
      context.strokeStyle = style;
      context.stroke();
    }
  }
}

function paintCoverage(found: Coverage, marking: Marking, accent: string): Layer {
  const picture = document.createElement("canvas");
  picture.width = found.width;
  picture.height = found.height;
  const context = picture.getContext("2d");
  if (context) {
    const image = context.createImageData(found.width, found.height);
    const [red, green, blue] = /^#[0-9a-f]{6}$/i.test(accent)
      ? [1, 3, 5].map((i) => parseInt(accent.slice(i, i + 2), 16))
      : [0, 98, 163];
    const [wanted, colour] =
      marking === "dim" ? [TILE, VEIL] : [CHOSEN, [red!, green!, blue!, 150]];
    for (let i = 0; i < found.pixels.length; i++) {
      if (found.pixels[i] === wanted) image.data.set(colour, 4 * i);
    }
    context.putImageData(image, 0, 0);
  }
  return { picture, view: found.view };
}

/** Draws everything; how many tiles are still missing. */
export function paint(context: CanvasRenderingContext2D, scene: Scene): number {
  const { canvas } = context;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const { pyramid, camera, size, ratio } = scene;
  if (pyramid) {
    const [x0, y0] = toPixel(camera, size, [0, 0]);
    context.fillStyle = scene.ground;
    context.fillRect(
      x0 * ratio, y0 * ratio,
      pyramid.width * camera.scale * ratio, pyramid.height * camera.scale * ratio,
    );
  }
  const missing = drawSlide(context, scene);
  if (scene.map && scene.opacity > 0) {
    context.globalAlpha = scene.opacity;
    drawLayer(context, scene.map, camera, size, ratio, scene.smooth);
    context.globalAlpha = 1;
  }
  scene.selection.draw(context, scene);
  return missing;
}

// -- marks: on a canvas of their own, so that drawing a line paints no tile -----------------------

export interface Marks {
  readonly draft: Draft | null;
  /** A gesture that was sent and not yet answered. */
  readonly sent: Draft | null;
  /** Boxes in level-0 pixels of the tile under the cursor and of the focused one. */
  readonly hover: Bounds | null;
  readonly focus: Bounds | null;
  readonly accent: string;
}

export function drawMarks(
  context: CanvasRenderingContext2D,
  camera: Camera,
  size: Size,
  ratio: number,
  marks: Marks,
): void {
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, size.width, size.height);
  const frame = (box: Bounds, wide: number, inner: string): void => {
    const [x0, y0] = toPixel(camera, size, [box[0], box[1]]);
    const [x1, y1] = toPixel(camera, size, [box[2], box[3]]);
    // a tile of less than some pixels would be its own frame
    const grow = Math.max(0, (7 - (x1 - x0)) / 2);
    for (const [width, style] of [[wide + 2, "#ffffff"], [wide, inner]] as const) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.strokeRect(x0 - grow, y0 - grow, x1 - x0 + 2 * grow, y1 - y0 + 2 * grow);
    }
  };
  const draft = marks.draft ?? marks.sent;
  if (draft) {
    context.beginPath();
    if (draft.kind === "box") {
      const { from, to } = draft;
      context.rect(from[0], from[1], to[0] - from[0], to[1] - from[1]);
    } else {
      for (const [x, y] of draft.path) context.lineTo(x, y);
      context.closePath();
    }
    context.globalAlpha = marks.draft ? 0.16 : 0.08;
    context.fillStyle = marks.accent;
    context.fill("evenodd");
    context.globalAlpha = marks.draft ? 1 : 0.6;
    for (const [width, style] of [[3.5, "#ffffff"], [1.5, marks.accent]] as const) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke();
    }
    context.globalAlpha = 1;
  }
  if (marks.hover) frame(marks.hover, 1, "#000000");
  if (marks.focus) frame(marks.focus, 2.5, marks.accent);
}
