/** Bytes that stand in an address itself. */
import { VlmError } from '../../contracts/errors.js';

/** Throws INPUT_UNREADABLE; what is larger than `maxBytes` is `tooLarge`, told its size. */
export function readDataUrl(
  url: string,
  where: string,
  maxBytes: number,
  tooLarge: (bytes: number) => VlmError,
): Uint8Array {
  const match = /^data:([^,]*?)(;base64)?,(.*)$/is.exec(url);
  const [, , base64, body] = match ?? [];
  if (body === undefined) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'A data URL cannot be read',
      expected: 'data:image/png;base64,…',
      received: beginning(url),
      where,
      hint: 'a comma parts the kind from the data; the data may be given as a file as well',
    });
  }
  if (body.length > maxBytes * 2) throw tooLarge(body.length);
  const bytes = base64 === undefined ? percentDecoded(body) : base64Decoded(body);
  if (bytes === null) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'A data URL is not base64 as it says, or is cut off',
      expected: 'base64 behind the comma',
      received: beginning(url),
      where,
      hint: 'encode the file again (`base64 -w0 FILE`), or give its path',
    });
  }
  if (bytes.length > maxBytes) throw tooLarge(bytes.length);
  return bytes;
}

function beginning(url: string): string {
  return url.length > 40 ? `${url.slice(0, 40)}…` : url;
}

/** Null when it is none: Buffer passes over what it does not know, and gives a part of the picture. */
function base64Decoded(body: string): Uint8Array | null {
  const text = Buffer.from(percentDecoded(body)).toString('latin1').replace(/\s+/g, '');
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) return null;
  if (text.replace(/=+$/, '').length % 4 === 1) return null;
  return new Uint8Array(Buffer.from(text, 'base64'));
}

/** `%89PNG` -> bytes, which need not be UTF-8. A `%` without two digits stands for itself. */
export function percentDecoded(body: string): Uint8Array {
  const raw = Buffer.from(body, 'utf8');
  const out = new Uint8Array(raw.length);
  let size = 0;
  for (let i = 0; i < raw.length; i++) {
    const digits = raw[i] === 0x25 ? raw.toString('latin1', i + 1, i + 3) : '';
    const escaped = /^[0-9a-f]{2}$/i.test(digits);
    out[size++] = escaped ? Number.parseInt(digits, 16) : (raw[i] ?? 0);
    if (escaped) i += 2;
  }
  return out.slice(0, size);
}
