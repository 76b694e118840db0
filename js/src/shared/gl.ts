// One WebGL2 context a page, shared by all views of all bundles.
//
// Browsers keep about 16 contexts and then drop the oldest, so a notebook of many views must
// not open one each. A hidden canvas renders, and each view copies its picture into its own
// 2-D canvas, which also keeps the last picture when the context is lost.

/** Bump when the meaning of `Shared` changes: bundles of two versions may meet on a page. */
const KEY = Symbol.for("widgetkit.gl.1");

interface Shared {
  canvas: HTMLCanvasElement;
  gl: WebGL2RenderingContext;
  /** Grows with each restored context; what was made in an older one is gone. */
  generation: number;
  listeners: Set<() => void>;
  /** Programs by source; dropped with the context. */
  programs: Map<string, WebGLProgram>;
}

declare global {
  interface Window {
    [KEY]?: Shared | null;
  }
}

function create(): Shared | null {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const gl = canvas.getContext("webgl2", {
    alpha: true,
    antialias: false,
    depth: false,
    premultipliedAlpha: true,
    preserveDrawingBuffer: false,
    powerPreference: "high-performance",
  });
  if (!gl) return null;
  const shared: Shared = { canvas, gl, generation: 0, listeners: new Set(), programs: new Map() };
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault(); // asks the browser to restore it
    shared.programs.clear();
    for (const listener of [...shared.listeners]) listener();
  });
  canvas.addEventListener("webglcontextrestored", () => {
    shared.generation += 1;
    for (const listener of [...shared.listeners]) listener();
  });
  return shared;
}

function shared(): Shared | null {
  const page = window as Window;
  if (page[KEY] === undefined) page[KEY] = create();
  return page[KEY];
}

/** Whether this browser gives WebGL2 at all. */
export function hasWebGL(): boolean {
  return shared() !== null;
}

/** A context that does not come back by then is given up, until it does. */
const LOST_MS = 4000;

/** One view's use of the shared context. */
export interface Surface {
  readonly gl: WebGL2RenderingContext;
  /** False between the loss of the context and its restoration. */
  readonly alive: boolean;
  /** Lost for so long that the view should draw without it; false again once it is back. */
  readonly gone: boolean;
  /** Compare with the value at which buffers and textures were made; differs after a loss. */
  readonly generation: number;
  /** Largest side of a texture or a picture, pixels. */
  readonly largest: number;
  /** The program of two sources, compiled once a page. */
  program(vertex: string, fragment: string): WebGLProgram;
  /**
   * Runs `paint` with a cleared viewport of this size and copies the picture to `target`.
   * Both happen in one task, so the drawing buffer need not be preserved. Returns false, and
   * leaves `target` as it was, while the context is lost.
   */
  draw(
    target: CanvasRenderingContext2D,
    width: number,
    height: number,
    paint: (gl: WebGL2RenderingContext) => void,
  ): boolean;
}

/** The shared context, or null without WebGL. `changed` is called when `alive` or `gone` changed. */
export function surface(changed: () => void, signal: AbortSignal): Surface | null {
  const at = shared();
  if (!at) return null;
  const { canvas, gl } = at;
  let gone = false;
  let patience: ReturnType<typeof setTimeout> | undefined;
  const wait = (): void => {
    clearTimeout(patience);
    gone &&= gl.isContextLost();
    if (gone || !gl.isContextLost()) return;
    patience = setTimeout(() => {
      gone = gl.isContextLost();
      if (gone) changed();
    }, LOST_MS);
  };
  const told = (): void => {
    wait();
    changed();
  };
  at.listeners.add(told);
  signal.addEventListener("abort", () => {
    clearTimeout(patience);
    at.listeners.delete(told);
  });
  wait(); // a view may be opened while the context is lost
  return {
    gl,
    get alive() {
      return !gl.isContextLost();
    },
    get gone() {
      return gone;
    },
    get generation() {
      return at.generation;
    },
    get largest() {
      return (gl.getParameter(gl.MAX_TEXTURE_SIZE) as number | null) ?? 2048;
    },
    program(vertex, fragment) {
      const key = `${vertex}\n${fragment}`;
      const known = at.programs.get(key);
      if (known) return known;
      const made = link(gl, vertex, fragment);
      at.programs.set(key, made);
      return made;
    },
    draw(target, width, height, paint) {
      if (gl.isContextLost()) return false;
      // Only grows: each change of size throws the buffer away.
      if (canvas.width < width) canvas.width = width;
      if (canvas.height < height) canvas.height = height;
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      gl.viewport(0, 0, width, height);
      gl.disable(gl.SCISSOR_TEST);
      gl.disable(gl.DEPTH_TEST);
      gl.disable(gl.CULL_FACE);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      paint(gl);
      if (gl.isContextLost()) return false;
      target.clearRect(0, 0, width, height);
      // The viewport begins at the bottom of the canvas, drawImage at its top.
      target.drawImage(canvas, 0, canvas.height - height, width, height, 0, 0, width, height);
      return true;
    },
  };
}

function link(gl: WebGL2RenderingContext, vertex: string, fragment: string): WebGLProgram {
  const program = gl.createProgram();
  for (const [type, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ] as const) {
    const shader = gl.createShader(type)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
      throw new Error(`shader: ${gl.getShaderInfoLog(shader)}`);
    }
    gl.attachShader(program, shader);
    gl.deleteShader(shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`shader: ${gl.getProgramInfoLog(program)}`);
  }
  return program;
}
