/** A map that forgets what was used longest ago, and says so, so that bitmaps can be freed. */
export class Recent<V> {
  private readonly entries = new Map<string, V>();

  constructor(
    readonly most: number,
    private readonly forget: (value: V) => void = () => {},
  ) {}

  get size(): number {
    return this.entries.size;
  }

  has(key: string): boolean {
    return this.entries.has(key);
  }

  get(key: string): V | undefined {
    const value = this.entries.get(key);
    if (value !== undefined) {
      this.entries.delete(key);
      this.entries.set(key, value);
    }
    return value;
  }

  set(key: string, value: V): void {
    const old = this.entries.get(key);
    this.entries.delete(key);
    this.entries.set(key, value);
    if (old !== undefined && old !== value) this.forget(old);
    for (const [oldest, gone] of this.entries) {
      if (this.entries.size <= this.most) break;
      this.entries.delete(oldest);
      this.forget(gone);
    }
  }

  clear(): void {
    for (const value of this.entries.values()) this.forget(value);
    this.entries.clear();
  }
}
