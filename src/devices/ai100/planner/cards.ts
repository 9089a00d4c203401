/** Which programs meet on which card, and whether they can stay there together. */

/** Cores of one card. */
export const CARD_CORES = 16;
/** Memory of a card when neither the recipe nor a card says it. */
export const USUAL_GIB = 16;

export interface CardProgram {
  readonly name: string;
  readonly ids: readonly number[];
  /** Of each card. */
  readonly cores: number;
  /** Bytes on each card; null: not known. */
  readonly bytes: number | null;
  readonly cardBytes: number;
  readonly cardBytesKnown: boolean;
}

export interface CardLoad {
  readonly card: number;
  readonly programs: readonly string[];
  /** Cores of all its programs together. */
  readonly cores: number;
  readonly bytes: number | null;
  readonly cardBytes: number;
  readonly cardBytesKnown: boolean;
  /**
   * `alone`: one program. `shared`: several, all active at once. `swapped`: one is deactivated before another is
   * activated, which costs each request.
   */
  readonly mode: 'alone' | 'shared' | 'swapped';
}

export function loadCards(programs: readonly CardProgram[]): readonly CardLoad[] {
  const ids = [...new Set(programs.flatMap((p) => p.ids))].sort((a, b) => a - b);
  return ids.map((card) => {
    const here = programs.filter((p) => p.ids.includes(card));
    const cores = here.reduce((n, p) => n + p.cores, 0);
    const known = here.every((p) => p.bytes !== null);
    return {
      card,
      programs: here.map((p) => p.name),
      cores,
      bytes: known ? here.reduce((n, p) => n + (p.bytes ?? 0), 0) : null,
      cardBytes: Math.min(...here.map((p) => p.cardBytes)),
      cardBytesKnown: here.some((p) => p.cardBytesKnown),
      mode: here.length < 2 ? 'alone' : cores <= CARD_CORES ? 'shared' : 'swapped',
    };
  });
}
