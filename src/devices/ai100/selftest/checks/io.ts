/** What a program says of its inputs and outputs, in both forms. */
import { elementCount } from '../../../../contracts/tensor.js';
import { contractName, elementBytes } from '../../description.js';
import type { IoBinding, IoDescription } from '../../io-desc.js';
import { readDescription, readMappings } from '../description.js';
import type { Kit } from '../kit.js';
import { SUCCESS } from '../runtime.js';
import { type Check, Deviation, FACTS } from '../types.js';

const ROLE = { in: 1, out: 2 } as const;

export const IO_CHECKS: readonly Check[] = [
  {
    name: 'io/descriptor',
    assumption: 'qaicProgramGetIoDescriptor gives a protobuf aicapi.IoDesc with the bindings that were compiled',
    source: FACTS.runtime,
    needs: ['program/open-file'],
    program: 'any',
    light: true,
    run: (kit) => {
      const opened = loaded(kit);
      const { bytes, description } = readDescription(kit.runtime, opened);
      const facts = kit.facts('any');
      const found = description.bindings.map((b) => `${b.direction} ${contractName(b.name)} type ${b.type}`).sort();
      const wanted = facts.ports.map((p) => `${p.direction} ${p.name} type ${p.type}`).sort();
      if (facts.own && found.join('; ') !== wanted.join('; ')) {
        throw new Deviation(wanted.join('; '), found.join('; '), SUCCESS);
      }
      return { received: `${bytes} bytes: ${found.join('; ').slice(0, 400)}`, status: SUCCESS };
    },
  },
  {
    name: 'io/allowed-shapes',
    assumption: 'allowed_shapes[i].shapes[j] belongs to binding j, and there is one list for each compiled set',
    source: FACTS.runtime,
    needs: ['io/descriptor'],
    program: 'any',
    light: true,
    run: (kit) => {
      const description = described(kit);
      const { allowedShapes, bindings } = description;
      for (const [i, set] of allowedShapes.entries()) {
        for (const [j, shape] of set.entries()) {
          const b = bindings[j];
          if (b !== undefined && (shape.type !== b.type || shape.dims.length !== b.dims.length)) {
            const received = `type ${shape.type}, ${shape.dims.length} dims in list ${i}`;
            throw new Deviation(`${b.name}: type ${b.type}, ${b.dims.length} dims`, received, SUCCESS);
          }
        }
      }
      const facts = kit.facts('any');
      const found = allowedShapes.map((set) => listed(bindings, (_, j) => set[j]?.dims ?? [])).sort();
      const wanted = facts.sets.map((set) => listed(bindings, (b) => set[contractName(b.name)] ?? [])).sort();
      if (facts.own && found.join(' | ') !== wanted.join(' | ')) {
        throw new Deviation(wanted.join(' | '), found.join(' | '), SUCCESS);
      }
      return { received: `${allowedShapes.length} sets`, status: SUCCESS };
    },
  },
  {
    name: 'io/binding-sizes',
    assumption: 'the size of a binding in the descriptor is the bytes of its largest shape',
    source: FACTS.runtime,
    needs: ['io/allowed-shapes'],
    program: 'any',
    light: true,
    run: (kit) => {
      const description = described(kit);
      for (const [j, b] of description.bindings.entries()) {
        const bytes = largest(description, j);
        if (b.size !== bytes) throw new Deviation(`${b.name}: ${bytes} bytes`, `${b.size} bytes`, SUCCESS);
      }
      return { received: `${description.bindings.length} sizes`, status: SUCCESS };
    },
  },
  {
    name: 'io/buffer-info',
    assumption:
      'qaicProgramGetIoBufferInfo gives mappings of 32 bytes: name, index, 1 or 2 for in or out, size, partial, type',
    source: FACTS.runtime,
    needs: ['io/allowed-shapes'],
    program: 'any',
    light: true,
    run: (kit) => {
      const program = loaded(kit);
      const { description } = readDescription(kit.runtime, program);
      const mappings = readMappings(kit.runtime, program);
      const text = (name: string | null, index: number, io: number, size: number, partial: boolean, type: number) =>
        `${index} ${name} ${io} ${size} bytes${partial ? ' partial' : ''} type ${type}`;
      const found = mappings.map((m) => text(m.name, m.index, m.ioType, m.size, m.partial !== 0, m.type)).sort();
      const wanted = description.bindings
        .map((b, j) => text(b.name, b.index, ROLE[b.direction], largest(description, j), b.partial, b.type))
        .sort();
      const at = wanted.findIndex((line, i) => line !== found[i]);
      if (at >= 0 || found.length !== wanted.length) {
        throw new Deviation(
          wanted[at] ?? `${wanted.length} mappings`,
          found[at] ?? `${found.length} mappings`,
          SUCCESS,
        );
      }
      return { received: `${found.length} mappings`, status: SUCCESS };
    },
  },
];

/** A program that is loaded, not active: its description is there, and no core is taken. */
function loaded(kit: Kit): bigint {
  const { program } = kit.create(kit.facts('any'));
  kit.runtime.ok('qaicLoadProgram', program);
  return program;
}

function described(kit: Kit): IoDescription {
  return readDescription(kit.runtime, loaded(kit)).description;
}

function largest({ allowedShapes, bindings }: IoDescription, j: number): number {
  const b = bindings[j];
  if (b === undefined) return 0;
  const lists = allowedShapes.length > 0 ? allowedShapes.map((set) => set[j]?.dims ?? []) : [b.dims];
  return Math.max(...lists.map((dims) => elementCount(dims) * elementBytes(b.type)));
}

function listed(bindings: readonly IoBinding[], dims: (b: IoBinding, j: number) => readonly number[]): string {
  return bindings.map((b, j) => `${contractName(b.name)} ${dims(b, j).join('x')}`).join(', ');
}
