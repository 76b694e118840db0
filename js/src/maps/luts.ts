/**
 * Colour scales of maps: 33 control points each, interpolated linearly to 256 entries.
 *
 * Viridis, magma and cividis are the perceptually even scales of matplotlib (CC0); the diverging
 * one is ColorBrewer's RdBu reversed, whose middle is "no evidence" and which people with red-green
 * colour blindness read correctly. The figures use the same four names, so that a map has the
 * same colours on screen and on paper (a Python test compares the two, within 5 of 255).
 */

const POINTS = {
  viridis:
    "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725",
  magma:
    "0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337db73779c43c75d0416fdc4869e75263ef5d5ef56b5cf9795dfc8961fd9869fea772feb67cfec488fed395fde2a3fcf0b2fcfdbf",
  cividis:
    "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c788482798c8878938e789b9476a39a74aba072b4a76fbcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838",
  RdBu_r:
    "0530610e41791752901f63a82a71b23480b93f8ec0529dc86bacd184bcd99bc9e0aed3e6c2ddecd4e6f1e0ecf3ecf2f5f7f6f6f9eee7fbe5d8fddcc9fbccb4f8bb9ef5aa89ee9677e48066db6b55d05548c53e3dba2832ab162a930e267c072267001f",
} as const;

export type PaletteName = keyof typeof POINTS;

export const PALETTES: readonly { name: PaletteName; label: string; diverging: boolean }[] = [
  { name: "viridis", label: "viridis", diverging: false },
  { name: "magma", label: "magma", diverging: false },
  { name: "cividis", label: "cividis", diverging: false },
  { name: "RdBu_r", label: "blue–red around 0", diverging: true },
];

/** The name if it is known, else viridis (a state written by a newer version must still draw). */
export function paletteName(name: string): PaletteName {
  return name in POINTS ? (name as PaletteName) : "viridis";
}

const made = new Map<PaletteName, Uint8Array>();

/** 256 RGBA entries (1024 bytes) of a palette; made once. */
export function lut(name: PaletteName): Uint8Array {
  let table = made.get(name);
  if (table) return table;
  const hex = POINTS[name];
  const last = hex.length / 6 - 1;
  const at = (point: number, channel: number): number =>
    parseInt(hex.substr(point * 6 + channel * 2, 2), 16);
  table = new Uint8Array(1024);
  for (let i = 0; i < 256; i++) {
    const x = (i / 255) * last;
    const low = Math.min(Math.floor(x), last - 1);
    for (let c = 0; c < 3; c++) {
      table[i * 4 + c] = Math.round(at(low, c) + (at(low + 1, c) - at(low, c)) * (x - low));
    }
    table[i * 4 + 3] = 255;
  }
  made.set(name, table);
  return table;
}

/** A CSS gradient of the palette, for the colour bar. */
export function gradient(name: PaletteName, direction = "to right"): string {
  const table = lut(name);
  const stops: string[] = [];
  for (let i = 0; i <= 16; i++) {
    const k = Math.round((i / 16) * 255) * 4;
    stops.push(`rgb(${table[k]},${table[k + 1]},${table[k + 2]})`);
  }
  return `linear-gradient(${direction},${stops.join(",")})`;
}
