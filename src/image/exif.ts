/** Orientation tags of EXIF and XMP. */
import { tiffTags } from './tiff.js';

const ORIENTATION = 0x0112;

/** Orientation (1–8) out of EXIF bytes with or without their `Exif` prefix; undefined when there is no such tag. */
export function exifOrientation(data: Uint8Array): number | undefined {
  const prefixed = Buffer.from(data.subarray(0, 6)).toString('latin1') === 'Exif\0\0';
  return tiffTags(prefixed ? data.subarray(6) : data)?.get(ORIENTATION)?.value;
}

/** Orientation out of an XMP packet, which counts where EXIF has none. */
export function xmpOrientation(data: Uint8Array): number | undefined {
  const found = /tiff:Orientation(?:="|>)([0-9])/.exec(Buffer.from(data).toString('latin1'));
  return found?.[1] === undefined ? undefined : Number(found[1]);
}
