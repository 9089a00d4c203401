/** Which programs of a plan take turns instead of running side by side. */
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Plan } from '../contracts/recipe.js';
import { CARD_CORES, type CardProgram, loadCards, USUAL_GIB } from '../devices/ai100/planner/cards.js';
import type { ExclusiveLanes } from '../runner/swap.js';

/** Programs that meet where there are too few cores for all of them: on a card, or on the processor. */
export function exclusiveLanes(plan: Plan, cores = availableParallelism()): readonly ExclusiveLanes[] {
  return [...cardLanes(plan), ...processorLanes(plan, cores)];
}

/** Threads of two programs that outnumber the cores wait for one another at every step of either. */
function processorLanes(plan: Plan, cores: number): readonly ExclusiveLanes[] {
  const threads = new Map<string, number>();
  for (const { device, manifest } of plan.nodes) {
    const config = plan.devices[device ?? ''];
    if (manifest.program === undefined || config?.kind !== 'cpu') continue;
    threads.set(`${device} ${manifest.program}`, typeof config.threads === 'number' ? config.threads : cores);
  }
  const wanted = [...threads.values()].reduce((n, own) => n + own, 0);
  return threads.size > 1 && wanted > cores ? [{ lanes: [...threads.keys()], stayLoaded: true, stayActive: true }] : [];
}

function cardLanes(plan: Plan): readonly ExclusiveLanes[] {
  const lanes = new Map<string, CardProgram>();
  for (const { device, manifest } of plan.nodes) {
    const config = plan.devices[device ?? ''];
    if (manifest.program === undefined || config?.kind !== 'ai100') continue;
    const name = `${device} ${manifest.program}`;
    const { ids = [0], num_cores: cores, memory_gib: memory } = config;
    const own = typeof cores === 'number' ? cores : CARD_CORES;
    const bytes = programBytes(plan.model.programs?.[manifest.program]);
    const cardBytes = (typeof memory === 'number' ? memory : USUAL_GIB) * 2 ** 30;
    lanes.set(name, { name, ids, cores: own, bytes: bytes / ids.length, cardBytes, cardBytesKnown: true });
  }
  return loadCards([...lanes.values()]).flatMap(({ mode, programs, bytes, cardBytes }) =>
    mode === 'swapped' ? [{ lanes: programs, stayLoaded: bytes !== null && bytes <= cardBytes }] : [],
  );
}

/** A compiled program takes about the size of its file; its cache is not in it. */
function programBytes(path: string | undefined): number {
  if (path === undefined) return 0;
  const inside = statSync(join(path, 'programqpc.bin'), { throwIfNoEntry: false });
  return (inside ?? statSync(path, { throwIfNoEntry: false }))?.size ?? 0;
}
