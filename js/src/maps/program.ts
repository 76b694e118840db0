/**
 * The WebGL 2 program of the map viewer: all tiles in one instanced draw call.
 *
 * The atlas of tiles is uploaded once a set; a new method or target uploads a few kilobytes of grid;
 * opacity, threshold, palette and mode are uniforms. The fragment shader is `paint.ts` in GLSL.
 */

import type { Box } from "./box.ts";
import { sliceStart, type Grids, type Scale } from "./grid.ts";
import { MARGIN, type Layout } from "./layout.ts";
import { BELOW, type Look } from "./paint.ts";
import { sheetSize, type Picture, type SheetInfo } from "../shared/sheet.ts";
import type { Surface } from "../shared/gl.ts";

const VERTEX = `#version 300 es
uniform vec2 u_canvas; uniform float u_columns, u_tile, u_pitch, u_margin;
out vec2 v_uv; flat out int v_index;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  float index = float(gl_InstanceID);
  float row = floor((index + 0.5) / u_columns);
  vec2 at = u_margin + vec2(index - row * u_columns, row) * u_pitch + corner * u_tile;
  vec2 clip = at / u_canvas * 2.0 - 1.0;
  gl_Position = vec4(clip.x, -clip.y, 0.0, 1.0);
  v_uv = corner; v_index = gl_InstanceID;
}`;

const FRAGMENT = `#version 300 es
precision highp float; precision highp sampler2D;
uniform sampler2D u_atlas, u_grid, u_scale, u_lut;
uniform vec4 u_box; uniform ivec2 u_cells; uniform vec2 u_atlas_tiles; uniform float u_atlas_px;
uniform float u_opacity, u_threshold; uniform int u_mode, u_smooth, u_signed, u_tiles, u_maps;
in vec2 v_uv; flat in int v_index; out vec4 colour;
float cell(int x, int y) {
  return texelFetch(u_grid, ivec2(clamp(x, 0, u_cells.x - 1),
    v_index * u_cells.y + clamp(y, 0, u_cells.y - 1)), 0).r;
}
void main() {
  vec3 under = vec3(${BELOW}.0 / 255.0);
  if (u_mode != 1 && u_tiles > v_index) {
    float row = floor((float(v_index) + 0.5) / u_atlas_tiles.x);
    vec2 tile = vec2(float(v_index) - row * u_atlas_tiles.x, row);
    vec2 inside = clamp(v_uv, 0.5 / u_atlas_px, 1.0 - 0.5 / u_atlas_px);
    under = textureLod(u_atlas, (tile + inside) / u_atlas_tiles, 0.0).rgb;
  }
  colour = vec4(under, 1.0);
  if (u_mode == 0 || v_index >= u_maps) return;
  vec2 uv = (v_uv - u_box.xy) / u_box.zw;
  if (any(lessThan(uv, vec2(0.0))) || any(greaterThanEqual(uv, vec2(1.0)))) return;
  float value;
  if (u_smooth == 1) {
    vec2 at = clamp(uv * vec2(u_cells) - 0.5, vec2(0.0), vec2(u_cells - 1));
    ivec2 low = ivec2(at); vec2 f = at - vec2(low);
    value = mix(mix(cell(low.x, low.y), cell(low.x + 1, low.y), f.x),
                mix(cell(low.x, low.y + 1), cell(low.x + 1, low.y + 1), f.x), f.y);
  } else {
    value = cell(int(uv.x * float(u_cells.x)), int(uv.y * float(u_cells.y)));
  }
  if (isnan(value)) return;
  vec2 scale = texelFetch(u_scale, ivec2(0, v_index), 0).rg;
  float extent = scale.y - scale.x;
  float place = u_signed == 1 ? 0.5 : 0.0;
  if (extent > 0.0) place = clamp((value - scale.x) / extent, 0.0, 1.0);
  float strength = u_signed == 1 ? abs(place - 0.5) * 2.0 : place;
  if (u_threshold > 0.0 && strength < u_threshold) return;
  vec3 map = texelFetch(u_lut, ivec2(int(floor(place * 255.0 + 0.5)), 0), 0).rgb;
  colour.rgb = mix(under, map, u_mode == 1 ? 1.0 : u_opacity);
}`;

const MODES = { tile: 0, map: 1, overlay: 2 } as const;
const SAMPLERS = ["u_atlas", "u_grid", "u_scale", "u_lut"] as const;

/** Holds the GPU's share of one viewer: atlas, grids, scales, palette. */
export class Program {
  readonly generation: number;
  private readonly gl: WebGL2RenderingContext;
  private readonly textures: WebGLTexture[];
  private readonly vao: WebGLVertexArrayObject;
  private readonly uniforms = new Map<string, WebGLUniformLocation | null>();
  private atlas: SheetInfo | null = null;
  private tiles = 0;
  private maps = 0;
  private cells: [number, number] = [1, 1];
  private program: WebGLProgram;

  constructor(surface: Surface) {
    this.gl = surface.gl;
    this.generation = surface.generation;
    this.program = surface.program(VERTEX, FRAGMENT);
    const vao = this.gl.createVertexArray();
    if (!vao) throw new Error("the graphics context is lost");
    this.vao = vao;
    this.textures = SAMPLERS.map((_, unit) => this.texture(unit));
  }

  private texture(unit: number): WebGLTexture {
    const { gl } = this;
    const texture = gl.createTexture();
    if (!texture) throw new Error("the graphics context is lost");
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    const filter = unit === 0 ? gl.LINEAR : gl.NEAREST;
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return texture;
  }

  /** Other views share the context: every upload states the pixel storage it relies on. */
  private bind(unit: number): WebGL2RenderingContext {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[unit]);
    gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, null);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    return gl;
  }

  setAtlas(picture: Picture | null, info: SheetInfo | null): void {
    this.atlas = picture ? info : null;
    this.tiles = picture && info ? info.count : 0;
    if (!picture) return;
    const gl = this.bind(0);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
  }

  setGrids(grids: Grids | null, slice: number, scales: readonly Scale[]): void {
    this.maps = grids ? grids.count : 0;
    if (!grids) return;
    const { width, height, count } = grids;
    this.cells = [width, height];
    const data = new Float32Array(width * height * count);
    for (let i = 0; i < count; i++) {
      const start = sliceStart(grids, i, slice);
      data.set(grids.values.subarray(start, start + width * height), i * width * height);
    }
    let gl = this.bind(1);
    gl.texImage2D(
      gl.TEXTURE_2D, 0, gl.R32F, width, height * count, 0, gl.RED, gl.FLOAT, data,
    );
    gl = this.bind(2);
    const pairs = new Float32Array(scales.flatMap((s) => [s.low, s.high]));
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RG32F, 1, count, 0, gl.RG, gl.FLOAT, pairs);
  }

  setPalette(table: Uint8Array): void {
    const gl = this.bind(3);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, table);
  }

  private at(name: string): WebGLUniformLocation | null {
    if (!this.uniforms.has(name)) {
      this.uniforms.set(name, this.gl.getUniformLocation(this.program, name));
    }
    return this.uniforms.get(name) ?? null;
  }

  /** Draw `count` tiles into the viewport that the caller has set. */
  draw(count: number, l: Layout, look: Look, box: Box): void {
    const { gl } = this;
    gl.useProgram(this.program);
    gl.bindVertexArray(this.vao);
    SAMPLERS.forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, this.textures[unit]);
      gl.uniform1i(this.at(name), unit);
    });
    gl.uniform2f(this.at("u_canvas"), l.width, l.height);
    gl.uniform1f(this.at("u_columns"), l.columns);
    gl.uniform1f(this.at("u_tile"), l.tile);
    gl.uniform1f(this.at("u_pitch"), l.pitch);
    gl.uniform1f(this.at("u_margin"), MARGIN);
    gl.uniform2i(this.at("u_cells"), ...this.cells);
    if (this.atlas) {
      const [width, height] = sheetSize(this.atlas);
      const { tile } = this.atlas;
      gl.uniform2f(this.at("u_atlas_tiles"), width / tile, height / tile);
      gl.uniform1f(this.at("u_atlas_px"), tile);
    }
    gl.uniform4f(this.at("u_box"), box.left, box.top, box.width, box.height);
    gl.uniform1f(this.at("u_opacity"), look.opacity);
    gl.uniform1f(this.at("u_threshold"), look.threshold);
    gl.uniform1i(this.at("u_mode"), MODES[look.mode]);
    gl.uniform1i(this.at("u_smooth"), look.smooth ? 1 : 0);
    gl.uniform1i(this.at("u_signed"), look.signed ? 1 : 0);
    gl.uniform1i(this.at("u_tiles"), this.tiles);
    gl.uniform1i(this.at("u_maps"), this.maps);
    gl.disable(gl.BLEND);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    gl.bindVertexArray(null);
  }

  /** Frees textures; the program stays for the other viewers of the page. */
  dispose(): void {
    const { gl } = this;
    for (const texture of this.textures) gl.deleteTexture(texture);
    gl.deleteVertexArray(this.vao);
  }
}
