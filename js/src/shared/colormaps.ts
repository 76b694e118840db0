// Continuous colour maps as 33 anchors (hex, no separators), interpolated linearly; a test
// compares them with matplotlib's maps of the same names, which the figures use.

export const VIRIDIS =
  "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725";
export const MAGMA =
  "0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337db73779c43c75d0416fdc4869e75263ef5d5ef56b5cf9795dfc8961fd9869fea772feb67cfec488fed395fde2a3fcf0b2fcfdbf";
export const INFERNO =
  "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e7d1e6d8a226a972766a32c61b0315bbc3754c73e4cd24644db503be45a31eb6628f1731df68013f98e09fb9d07fcac11fbbc21f9cb35f5db4cf2ea69f3f68afcffa4";
export const CIVIDIS =
  "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c788482798c8878938e789b9476a39a74aba072b4a76fbcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838";
/** Diverging, blue below and red above the middle. */
export const RDBU_R =
  "0530610e41791752901f63a82a71b23480b93f8ec0529dc86bacd184bcd99bc9e0aed3e6c2ddecd4e6f1e0ecf3ecf2f5f7f6f6f9eee7fbe5d8fddcc9fbccb4f8bb9ef5aa89ee9677e48066db6b55d05548c53e3dba2832ab162a930e267c072267001f";
/** Diverging, softer. */
export const COOLWARM =
  "3b4cc0445acc4e68d85875e16282ea6c8ff1779af782a6fb8db0fe98b9ffa3c2feaec9fcb9d0f9c3d5f4ccd9edd5dbe5dddcdce5d8d1ecd3c5f1ccb8f5c4acf7ba9ff7b093f6a586f4987af08b6eeb7d62e46e56dd5f4bd44e41ca3b37be242eb40426";
export const GREY = "000000ffffff";

export type Rgb = [red: number, green: number, blue: number];

/** Components 0..255 of "#rrggbb". */
export function rgb(hex: string): Rgb {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** `size` RGBA entries of a map, for a texture or a canvas. */
export function table(anchors: string, size = 256): Uint8Array {
  const count = anchors.length / 6;
  const at = (i: number, channel: number): number =>
    parseInt(anchors.slice(i * 6 + channel * 2, i * 6 + channel * 2 + 2), 16);
  const out = new Uint8Array(size * 4);
  for (let i = 0; i < size; i++) {
    const place = size > 1 ? (i / (size - 1)) * (count - 1) : 0;
    const low = Math.min(count - 2, Math.floor(place));
    const part = place - low;
    for (let channel = 0; channel < 3; channel++) {
      out[i * 4 + channel] = Math.round(at(low, channel) * (1 - part) + at(low + 1, channel) * part);
    }
    out[i * 4 + 3] = 255;
  }
  return out;
}

/** CSS gradient of a map, for colour bars. */
export function gradient(anchors: string, direction = "to right"): string {
  const stops: string[] = [];
  for (let i = 0; i < anchors.length; i += 6) stops.push(`#${anchors.slice(i, i + 6)}`);
  return `linear-gradient(${direction}, ${stops.join(", ")})`;
}
