/** IEEE 754 binary16 bits <-> float32, rounding to nearest, ties to even; infinities and NaN kept. */

const f32 = new Float32Array(1);
const bits = new Uint32Array(f32.buffer);

/** One float32 as binary16 bits. */
export function toHalf(value: number): number {
  f32[0] = value;
  const x = bits[0] as number;
  const sign = (x >>> 16) & 0x8000;
  const magnitude = x & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above round to infinity
  if (magnitude < 0x33000001) return sign; // 2^-25 and below round to zero
  const exponent = magnitude >>> 23;
  if (exponent >= 113) {
    const kept = (magnitude - 0x38000000) >>> 13;
    const rest = magnitude & 0x1fff;
    return sign | (kept + (rest > 0x1000 || (rest === 0x1000 && (kept & 1) === 1) ? 1 : 0));
  }
  // Subnormal: the implicit bit becomes explicit and shifts right.
  const shift = 126 - exponent;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

/** binary16 bits as a float32. */
export function fromHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0) {
    const value = mantissa * 2 ** -24;
    return sign === 0 ? value : -value;
  }
  bits[0] = exponent === 31 ? sign | 0x7f800000 | (mantissa << 13) : sign | ((exponent + 112) << 23) | (mantissa << 13);
  return f32[0] as number;
}

let table: Float32Array | null = null;

/** Long arrays go through a table of all 65536 values. */
export function halvesToFloats(from: Uint16Array, into: Float32Array = new Float32Array(from.length)): Float32Array {
  if (table === null) {
    table = new Float32Array(65536);
    for (let i = 0; i < 65536; i++) table[i] = fromHalf(i);
  }
  for (let i = 0; i < from.length; i++) into[i] = table[from[i] as number] as number;
  return into;
}

export function floatsToHalves(from: Float32Array, into: Uint16Array = new Uint16Array(from.length)): Uint16Array {
  for (let i = 0; i < from.length; i++) into[i] = toHalf(from[i] as number);
  return into;
}
