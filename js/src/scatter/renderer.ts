// Draws points into a 2-D canvas: with the shared WebGL context, or a sample of them without.

import type { Bounds } from "../shared/codec.ts";
import { bit, MISSING_POSITION } from "../shared/codec.ts";
import type { Rgb } from "../shared/colormaps.ts";
import type { Surface } from "../shared/gl.ts";
import { codesToClip, type Camera, type Size } from "./camera.ts";
import { spread, type Grid, type Look } from "./grid.ts";
import {
  DENSITY_FRAGMENT,
  POINTS_FRAGMENT,
  POINTS_VERTEX,
  SCREEN_VERTEX,
  SUM_FRAGMENT,
} from "./shaders.ts";

/** All that a picture depends on. */
export interface Scene {
  positions: Uint16Array;
  codes: Uint8Array;
  mask: Uint8Array;
  /** 256 RGBA entries by code. */
  lookup: Uint8Array;
  box: Bounds;
  camera: Camera;
  size: Size;
  /** Device pixels per CSS pixel. */
  ratio: number;
  look: Look;
  density: boolean;
  anySelected: boolean;
  /** Colour that the points fade to while others are selected. */
  quiet: Rgb;
}

/** Width of the mask's texture, bytes. */
const MASK_WIDTH = 2048;
/** Points drawn without WebGL. */
export const SAMPLE_MOST = 20_000;

interface Resources {
  generation: number;
  vertices: WebGLVertexArrayObject;
  positions: WebGLBuffer;
  codes: WebGLBuffer;
  mask: WebGLTexture;
  lookup: WebGLTexture;
  sums: WebGLTexture | null;
  target: WebGLFramebuffer | null;
  sumsSize: [number, number];
  /** Arrays that were uploaded last; compared by identity. */
  uploaded: Partial<Pick<Scene, "positions" | "codes" | "mask" | "lookup">>;
}

/** The WebGL renderer of one view. Keeps nothing that the scene could not rebuild. */
export class PointRenderer {
  private resources: Resources | null = null;

  constructor(private readonly surface: Surface) {}

  /** False while the context is lost; the target then keeps its picture. */
  draw(target: CanvasRenderingContext2D, scene: Scene): boolean {
    const { gl } = this.surface;
    if (!this.surface.alive) return false;
    if (this.resources?.generation !== this.surface.generation) this.resources = this.create();
    const at = this.resources;
    const width = Math.round(scene.size.width * scene.ratio);
    const height = Math.round(scene.size.height * scene.ratio);
    return this.surface.draw(target, width, height, () => {
      this.upload(at, scene);
      gl.bindVertexArray(at.vertices);
      gl.enable(gl.BLEND);
      const density = scene.density && this.prepareSums(at, width, height);
      const passes = scene.anySelected ? [1, 2] : [0];
      for (const pass of passes) {
        if (density) this.drawDensity(at, scene, pass, width, height);
        else this.drawPoints(at, scene, pass);
      }
      gl.disable(gl.BLEND);
      gl.bindVertexArray(null);
    });
  }

  dispose(): void {
    const at = this.resources;
    this.resources = null;
    if (!at || at.generation !== this.surface.generation) return;
    const { gl } = this.surface;
    gl.deleteVertexArray(at.vertices);
    gl.deleteBuffer(at.positions);
    gl.deleteBuffer(at.codes);
    for (const texture of [at.mask, at.lookup, at.sums]) gl.deleteTexture(texture);
    gl.deleteFramebuffer(at.target);
  }

  private create(): Resources {
    const { gl } = this.surface;
    const positions = gl.createBuffer();
    const codes = gl.createBuffer();
    const vertices = gl.createVertexArray();
    gl.bindVertexArray(vertices);
    gl.bindBuffer(gl.ARRAY_BUFFER, positions);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.UNSIGNED_SHORT, false, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, codes);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_BYTE, 0, 0);
    gl.bindVertexArray(null);
    return {
      generation: this.surface.generation,
      vertices,
      positions,
      codes,
      mask: this.texture(),
      lookup: this.texture(),
      sums: null,
      target: null,
      sumsSize: [0, 0],
      uploaded: {},
    };
  }

  private texture(): WebGLTexture {
    const { gl } = this.surface;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
      gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    }
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
      gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    }
    return texture;
  }

  private upload(at: Resources, scene: Scene): void {
    const { gl } = this.surface;
    const { positions, codes, mask, lookup } = scene;
    if (at.uploaded.positions !== positions) {
      gl.bindBuffer(gl.ARRAY_BUFFER, at.positions);
      gl.bufferData(gl.ARRAY_BUFFER, positions, gl.STATIC_DRAW);
    }
    if (at.uploaded.codes !== codes) {
      gl.bindBuffer(gl.ARRAY_BUFFER, at.codes);
      gl.bufferData(gl.ARRAY_BUFFER, codes, gl.STATIC_DRAW);
    }
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    if (at.uploaded.mask !== mask) {
      const rows = Math.max(1, Math.ceil(mask.length / MASK_WIDTH));
      const padded = new Uint8Array(rows * MASK_WIDTH);
      padded.set(mask);
      gl.bindTexture(gl.TEXTURE_2D, at.mask);
      gl.texImage2D(
        gl.TEXTURE_2D, 0, gl.R8UI, MASK_WIDTH, rows, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, padded,
      );
    }
    if (at.uploaded.lookup !== lookup) {
      gl.bindTexture(gl.TEXTURE_2D, at.lookup);
      gl.texImage2D(
        gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, lookup,
      );
    }
    at.uploaded = { positions, codes, mask, lookup };
  }

  /** Uses a program for the points of a pass, with the uniforms that both kinds share. */
  private usePoints(at: Resources, scene: Scene, pass: number, fragment: string, size: number) {
    const { gl } = this.surface;
    const program = this.surface.program(POINTS_VERTEX, fragment);
    gl.useProgram(program);
    const uniform = (name: string) => gl.getUniformLocation(program, name);
    const { scale, offset } = codesToClip(scene.camera, scene.size, scene.box);
    gl.uniform2f(uniform("u_scale"), scale[0], scale[1]);
    gl.uniform2f(uniform("u_offset"), offset[0], offset[1]);
    gl.uniform1f(uniform("u_size"), size);
    gl.uniform1i(uniform("u_pass"), pass);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, at.mask);
    gl.uniform1i(uniform("u_mask"), 0);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, at.lookup);
    gl.uniform1i(uniform("u_lookup"), 1);
    gl.activeTexture(gl.TEXTURE0);
    return uniform;
  }

  private drawPoints(at: Resources, scene: Scene, pass: number): void {
    const { gl } = this.surface;
    const { look, ratio } = scene;
    // The selected are larger and solid, the others smaller, pale and grey: told apart by
    // lightness and size, not by hue alone.
    const size = look.size * ratio * (pass === 2 ? 1.25 : pass === 1 ? 0.85 : 1);
    const uniform = this.usePoints(at, scene, pass, POINTS_FRAGMENT, Math.max(1, size));
    const alpha = pass === 2 ? Math.max(0.55, look.alpha) : look.alpha * (pass === 1 ? 0.4 : 1);
    gl.uniform1f(uniform("u_alpha"), alpha);
    this.fade(uniform, scene, pass);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.POINTS, 0, scene.positions.length >> 1);
  }

  private fade(
    uniform: (name: string) => WebGLUniformLocation | null,
    scene: Scene,
    pass: number,
  ): void {
    const { gl } = this.surface;
    const [red, green, blue] = scene.quiet;
    gl.uniform1f(uniform("u_grey"), pass === 1 ? 0.85 : 0);
    gl.uniform3f(uniform("u_quiet"), red / 255, green / 255, blue / 255);
  }

  /** A float target for the sums; false where the browser has none to blend into. */
  private prepareSums(at: Resources, width: number, height: number): boolean {
    const { gl } = this.surface;
    if (!gl.getExtension("EXT_color_buffer_float") || !gl.getExtension("EXT_float_blend")) {
      return false;
    }
    at.sums ??= this.texture();
    at.target ??= gl.createFramebuffer();
    if (at.sumsSize[0] !== width || at.sumsSize[1] !== height) {
      gl.bindTexture(gl.TEXTURE_2D, at.sums);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, width, height, 0, gl.RGBA, gl.FLOAT, null);
      gl.bindFramebuffer(gl.FRAMEBUFFER, at.target);
      gl.framebufferTexture2D(
        gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, at.sums, 0,
      );
      at.sumsSize = [width, height];
      const complete = gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE;
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      if (!complete) at.sumsSize = [0, 0];
      return complete;
    }
    return true;
  }

  private drawDensity(
    at: Resources,
    scene: Scene,
    pass: number,
    width: number,
    height: number,
  ): void {
    const { gl } = this.surface;
    const dot = Math.max(1, Math.round(scene.ratio * 1.5));
    gl.bindFramebuffer(gl.FRAMEBUFFER, at.target);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    this.usePoints(at, scene, pass, SUM_FRAGMENT, dot);
    gl.blendFunc(gl.ONE, gl.ONE);
    gl.drawArrays(gl.POINTS, 0, scene.positions.length >> 1);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, width, height);
    const program = this.surface.program(SCREEN_VERTEX, DENSITY_FRAGMENT);
    gl.useProgram(program);
    const uniform = (name: string) => gl.getUniformLocation(program, name);
    gl.bindTexture(gl.TEXTURE_2D, at.sums);
    gl.uniform1i(uniform("u_sums"), 0);
    // Overlap of a drawn point's area, turned into points that hit one pixel; three times the
    // mean is full strength, so that what is dense stands out of what is only full.
    const area = (Math.PI / 4) * scene.look.size ** 2 * scene.ratio ** 2;
    gl.uniform1f(uniform("u_full"), Math.max(2, (3 * scene.look.overlap * dot * dot) / area));
    gl.uniform1f(uniform("u_alpha"), pass === 1 ? 0.45 : 1);
    this.fade(uniform, scene, pass);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.bindTexture(gl.TEXTURE_2D, null);
  }
}

/** Draws a sample without WebGL; returns how many points it drew. */
export function drawSample(
  target: CanvasRenderingContext2D,
  scene: Scene,
  grid: Grid,
): number {
  const { positions, codes, mask, lookup, ratio, size, look, anySelected } = scene;
  const rows = spread(grid, SAMPLE_MOST);
  const { scale, offset } = codesToClip(scene.camera, size, scene.box);
  target.setTransform(ratio, 0, 0, ratio, 0, 0);
  target.clearRect(0, 0, size.width, size.height);
  const quiet = `rgb(${scene.quiet.join(",")})`;
  for (const pass of anySelected ? [1, 2] : [0]) {
    const side = look.size * (pass === 2 ? 1.25 : pass === 1 ? 0.85 : 1);
    target.globalAlpha = pass === 1 ? 0.35 : Math.max(0.5, look.alpha);
    for (const i of rows) {
      if (positions[2 * i] === MISSING_POSITION) continue;
      if (pass !== 0 && bit(mask, i) !== (pass === 2)) continue;
      const x = ((positions[2 * i]! * scale[0] + offset[0] + 1) / 2) * size.width;
      const y = ((1 - positions[2 * i + 1]! * scale[1] - offset[1]) / 2) * size.height;
      if (x < -9 || y < -9 || x > size.width + 9 || y > size.height + 9) continue;
      const c = codes[i]! * 4;
      target.fillStyle =
        pass === 1 ? quiet : `rgb(${lookup[c]},${lookup[c + 1]},${lookup[c + 2]})`;
      target.fillRect(x - side / 2, y - side / 2, side, side);
    }
  }
  target.globalAlpha = 1;
  target.setTransform(1, 0, 0, 1, 0, 0);
  return rows.length;
}
