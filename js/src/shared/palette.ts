// Written by build.mjs from widgetkit/palette.py. Do not edit.

export const CATEGORICAL: readonly string[] = [
  "#0072B2",
  "#E69F00",
  "#009E73",
  "#CC79A7",
  "#D55E00",
  "#56B4E9",
  "#F0E442",
  "#332288",
  "#88CCEE",
  "#44AA99",
  "#117733",
  "#999933",
  "#DDCC77",
  "#CC6677",
  "#882255",
  "#AA4499",
];

export const NONE_COLOUR = "#9A9A9A";

/** Palette index that means "none" on the wire. */
export const NONE_INDEX = 255;
