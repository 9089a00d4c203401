/** A bounds-checked reader over bytes: anything past the end reads as undefined. */
export class Bytes {
  private readonly view: DataView;

  constructor(
    readonly data: Uint8Array,
    readonly little: boolean,
  ) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  u8(at: number): number | undefined {
    return this.data[at];
  }

  u16(at: number): number | undefined {
    return at >= 0 && at + 2 <= this.view.byteLength ? this.view.getUint16(at, this.little) : undefined;
  }

  u32(at: number): number | undefined {
    return at >= 0 && at + 4 <= this.view.byteLength ? this.view.getUint32(at, this.little) : undefined;
  }

  u64(at: number): number | undefined {
    return at >= 0 && at + 8 <= this.view.byteLength ? Number(this.view.getBigUint64(at, this.little)) : undefined;
  }

  text(at: number, length: number): string {
    return Buffer.from(this.data.subarray(at, at + length)).toString('latin1');
  }
}
