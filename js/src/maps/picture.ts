/** Draws the tiles: by WebGL where the page has it, else on a 2-D canvas by the same rule. */

import { surface, type Surface } from "../shared/gl.ts";
import { tileOrigin, type Picture } from "../shared/sheet.ts";
import { tileScale, type Scale } from "./grid.ts";
import { corner, type Layout } from "./layout.ts";
import { lut } from "./luts.ts";
import { BELOW, paint } from "./paint.ts";
import { Program } from "./program.ts";
import type { Content, Settings } from "./state.ts";

/** Scale of each tile: the shared one, or its own. */
export function scalesOf(content: Content, own: boolean): Scale[] {
  const count = content.grids?.count ?? 0;
  return Array.from({ length: count }, (_, i) =>
    own && content.grids ? tileScale(content.grids, i, content.signed) : content.scale,
  );
}

export class TilePicture {
  private readonly surface: Surface | null;
  private program: Program | null = null;
  private uploaded: { picture?: Picture | null; content?: Content; ownScale?: boolean; palette?: string } = {};

  constructor(changed: () => void, signal: AbortSignal, forceCanvas: boolean) {
    this.surface = forceCanvas ? null : surface(changed, signal);
    signal.addEventListener("abort", () => {
      if (this.surface?.alive) this.program?.dispose();
    });
  }

  /** What draws now. */
  get renderer(): "webgl" | "canvas" {
    return this.surface && !this.surface.gone ? "webgl" : "canvas";
  }

  /**
   * Draw everything; `ratio` is device pixels per CSS pixel.
   * Returns false, leaving the last picture, while the graphics context is lost and not given up.
   */
  draw(
    target: CanvasRenderingContext2D,
    l: Layout,
    ratio: number,
    content: Content,
    picture: Picture | null,
    settings: Settings,
  ): boolean {
    const width = Math.round(l.width * ratio);
    const height = Math.round(l.height * ratio);
    if (this.surface && !this.surface.gone && Math.max(width, height) <= this.surface.largest) {
      if (!this.surface.alive) return false;
      if (target.canvas.width !== width) target.canvas.width = width;
      if (target.canvas.height !== height) target.canvas.height = height;
      return this.surface.draw(target, width, height, () => {
        const program = this.upload(content, picture, settings);
        program.draw(content.rows.length, l, settings, content.box);
      });
    }
    if (target.canvas.width !== width) target.canvas.width = width;
    if (target.canvas.height !== height) target.canvas.height = height;
    this.drawFlat(target, l, ratio, content, picture, settings);
    return true;
  }

  /** Moves to the GPU what has changed since the last draw, nothing else. */
  private upload(content: Content, picture: Picture | null, settings: Settings): Program {
    if (!this.surface) throw new Error("no graphics context");
    if (!this.program || this.program.generation !== this.surface.generation) {
      this.program = new Program(this.surface);
      this.uploaded = {};
    }
    const { program, uploaded } = this;
    if (uploaded.picture !== picture) {
      program.setAtlas(picture, content.atlasInfo);
      uploaded.picture = picture;
    }
    if (uploaded.content !== content || uploaded.ownScale !== settings.ownScale) {
      program.setGrids(content.grids, content.slice, scalesOf(content, settings.ownScale));
      uploaded.content = content;
      uploaded.ownScale = settings.ownScale;
    }
    if (uploaded.palette !== settings.palette) {
      program.setPalette(lut(settings.palette));
      uploaded.palette = settings.palette;
    }
    return program;
  }

  private drawFlat(
    target: CanvasRenderingContext2D,
    l: Layout,
    ratio: number,
    content: Content,
    picture: Picture | null,
    settings: Settings,
  ): void {
    target.clearRect(0, 0, target.canvas.width, target.canvas.height);
    target.imageSmoothingQuality = "high";
    const side = Math.round(l.tile * ratio);
    const scales = scalesOf(content, settings.ownScale);
    const table = lut(settings.palette);
    for (let i = 0; i < content.rows.length; i++) {
      const [left, top] = corner(l, i).map((at) => Math.round(at * ratio)) as [number, number];
      if (picture && content.atlasInfo && i < content.atlasInfo.count) {
        const { tile } = content.atlasInfo;
        target.drawImage(picture, ...tileOrigin(content.atlasInfo, i), tile, tile, left, top, side, side);
      } else {
        target.fillStyle = `rgb(${BELOW},${BELOW},${BELOW})`;
        target.fillRect(left, top, side, side);
      }
      if (!content.grids || settings.mode === "tile" || i >= content.grids.count) continue;
      const pixels = target.getImageData(left, top, side, side);
      paint(pixels.data, side, content.grids, i, content.slice, scales[i], settings, table, content.box);
      target.putImageData(pixels, left, top);
    }
  }
}
