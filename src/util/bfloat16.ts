/** bfloat16: the upper half of a float32, values kept as numbers. */
const scratch = new DataView(new ArrayBuffer(4));

/** The nearest bfloat16 to a float32 value, ties to even. NaN and infinities stay what they are. */
export function toBfloat16(value: number): number {
  if (!Number.isFinite(value)) return value;
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  scratch.setUint32(0, ((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000) >>> 0);
  return scratch.getFloat32(0);
}
