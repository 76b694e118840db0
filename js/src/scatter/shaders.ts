// The three programs of the scatter: points, and density in two passes.

/**
 * One vertex a point. `u_pass` chooses which points it is about: 0 all, 1 those not selected,
 * 2 the selected. The others are moved out of the picture.
 */
export const POINTS_VERTEX = `#version 300 es
precision highp float;
precision highp usampler2D;
layout(location = 0) in vec2 a_position;
layout(location = 1) in uint a_code;
uniform vec2 u_scale, u_offset;
uniform float u_size;
uniform int u_pass;
uniform usampler2D u_mask;
uniform sampler2D u_lookup;
out vec3 v_colour;
void main() {
  int byte_index = gl_VertexID >> 3;
  int width = textureSize(u_mask, 0).x;
  uint packed = texelFetch(u_mask, ivec2(byte_index % width, byte_index / width), 0).r;
  bool selected = (packed >> uint(gl_VertexID & 7) & 1u) == 1u;
  bool hidden = a_position.x > 65534.5 || (u_pass == 1 && selected) || (u_pass == 2 && !selected);
  gl_Position = hidden ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(a_position * u_scale + u_offset, 0.0, 1.0);
  gl_PointSize = u_size;
  v_colour = texelFetch(u_lookup, ivec2(int(a_code), 0), 0).rgb;
}`;

/** Round points with a soft edge. `u_grey` takes the colour out of what is not selected. */
export const POINTS_FRAGMENT = `#version 300 es
precision highp float;
in vec3 v_colour;
uniform float u_size, u_alpha, u_grey;
uniform vec3 u_quiet;
out vec4 o_colour;
void main() {
  float from_middle = length(gl_PointCoord - 0.5) * u_size;
  float cover = u_size < 2.5 ? 1.0 : clamp(u_size * 0.5 - from_middle + 0.25, 0.0, 1.0);
  if (cover <= 0.0) discard;
  float alpha = u_alpha * cover;
  o_colour = vec4(mix(v_colour, u_quiet, u_grey) * alpha, alpha);
}`;

/** Sums colours and counts, for the density. */
export const SUM_FRAGMENT = `#version 300 es
precision highp float;
in vec3 v_colour;
out vec4 o_sum;
void main() {
  o_sum = vec4(v_colour, 1.0);
}`;

export const SCREEN_VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

/** Mean colour of what lies on a pixel; opacity grows with the logarithm of how much that is. */
export const DENSITY_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D u_sums;
uniform float u_full, u_alpha, u_grey;
uniform vec3 u_quiet;
out vec4 o_colour;
void main() {
  vec4 sum = texelFetch(u_sums, ivec2(gl_FragCoord.xy), 0);
  if (sum.a < 0.5) discard;
  float strength = clamp(log(1.0 + sum.a) / log(1.0 + u_full), 0.0, 1.0);
  float alpha = u_alpha * mix(0.25, 1.0, strength);
  o_colour = vec4(mix(sum.rgb / sum.a, u_quiet, u_grey) * alpha, alpha);
}`;
