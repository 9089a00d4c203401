/** How many positions a text model's section of config.json allows. */
import { readCount, type Section } from './read.js';

/**
 * `max_position_embeddings`, or what the scaling of its rotary angles (`rope_scaling`, `rope_parameters`) stretches the
 * trained length to where that is more: some configurations name the trained length there, some the stretched one.
 */
export function maxPositionsOf(text: Section): number {
  const written = readCount(text, 'max_position_embeddings');
  const scaling = text.values['rope_scaling'] ?? text.values['rope_parameters'];
  if (typeof scaling !== 'object' || scaling === null) return written;
  const { factor, original_max_position_embeddings: trained = written } = scaling as Readonly<Record<string, unknown>>;
  if (typeof factor !== 'number' || !(factor > 1) || typeof trained !== 'number') return written;
  return Math.max(written, Math.floor(trained * factor));
}
