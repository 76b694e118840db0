// Fetches the voxels in parts, those of the slice that is looked at first.

import { bytesOf } from "../shared/codec.ts";
import type { Volume } from "./state.ts";
import type { Triple } from "./geometry.ts";
import type { Voxels } from "./reslice.ts";

export interface ChunkReply {
  kind: string;
  version?: number;
  index?: number;
  failed?: boolean;
}

/** Requests under way: one is read while the other travels. */
export const REQUESTS = 2;
/** A part that has not come by then is asked for again: a server may drop messages. */
export const PATIENCE_MS = 20_000;

export class Loader {
  private volume: Volume | null = null;
  private data = new Uint8Array(0);
  private have = new Uint8Array(0); // 0 wanted, 1 asked for, 2 here, 3 cannot be had
  private asked = new Map<number, ReturnType<typeof setTimeout>>();
  private slices = new Uint8Array(0);
  private first = 0;

  constructor(
    private readonly ask: (version: number, index: number) => void,
    private readonly changed: () => void,
  ) {}

  /** Begins with another volume, or goes on with the same one. */
  show(volume: Volume | null, at: Triple): void {
    if (volume?.version === this.volume?.version) return;
    this.stop();
    this.volume = volume;
    const bytes = volume ? volume.sent[0] * volume.sent[1] * volume.sent[2] * (volume.colour ? 3 : 1) : 0;
    this.data = new Uint8Array(bytes);
    this.have = new Uint8Array(volume?.chunks ?? 0);
    this.slices = new Uint8Array(volume?.sent[0] ?? 0);
    this.look(at);
    this.more();
  }

  /** What is looked at now comes next. */
  look(at: Triple): void {
    const { volume } = this;
    if (!volume) return;
    const slice = Math.floor(at[0] / volume.step[0]);
    this.first = Math.floor((slice * this.sliceBytes()) / volume.chunk);
  }

  stop(): void {
    for (const timer of this.asked.values()) clearTimeout(timer);
    this.asked.clear();
  }

  private sliceBytes(): number {
    return this.slices.length ? this.data.length / this.slices.length : 0;
  }

  /** Parts by their distance from the first wanted one. */
  private next(): number {
    for (let far = 0; far < this.have.length; far++) {
      for (const index of [this.first + far, this.first - far]) {
        if (index >= 0 && index < this.have.length && this.have[index] === 0) return index;
      }
    }
    return -1;
  }

  private more(): void {
    while (this.volume && this.asked.size < REQUESTS) {
      const index = this.next();
      if (index < 0) return;
      this.have[index] = 1;
      this.asked.set(index, setTimeout(() => this.again(index), PATIENCE_MS));
      this.ask(this.volume.version, index);
    }
  }

  private again(index: number): void {
    this.asked.delete(index);
    if (this.have[index] === 1) this.have[index] = 0;
    this.more();
  }

  /** Takes an answer; those of another volume and those of a wrong length change nothing. */
  take(reply: ChunkReply, buffers: readonly DataView[]): void {
    const { volume } = this;
    const index = reply.index ?? -1;
    if (!volume || reply.version !== volume.version || !(index >= 0 && index < this.have.length)) return;
    clearTimeout(this.asked.get(index));
    this.asked.delete(index);
    const from = index * volume.chunk;
    const bytes = bytesOf(buffers[0]);
    const good = !reply.failed && bytes.length === Math.min(volume.chunk, this.data.length - from);
    if (good) this.data.set(bytes, from);
    this.have[index] = good ? 2 : 3;
    if (good) this.complete();
    this.more();
    this.changed();
  }

  private complete(): void {
    const { volume } = this;
    if (!volume) return;
    const bytes = this.sliceBytes();
    for (let slice = 0; slice < this.slices.length; slice++) {
      if (this.slices[slice]) continue;
      const from = Math.floor((slice * bytes) / volume.chunk);
      const to = Math.floor(((slice + 1) * bytes - 1) / volume.chunk);
      let whole = 1;
      for (let index = from; index <= to; index++) if (this.have[index] !== 2) whole = 0;
      this.slices[slice] = whole;
    }
  }

  /** Share of the parts that are here, or never will be. */
  get done(): number {
    if (this.have.length === 0) return 0;
    return this.have.filter((state) => state >= 2).length / this.have.length;
  }

  get voxels(): Voxels | null {
    const { volume } = this;
    if (!volume) return null;
    return {
      shape: volume.shape,
      step: volume.step,
      sent: volume.sent,
      colour: volume.colour,
      data: this.data,
      ready: (slice) => this.slices[slice] === 1 && !volume.lacks(slice),
    };
  }
}
