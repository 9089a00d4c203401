/** A recipe after parsing and schema validation, and the diagnostics of the phases (src/recipe). */

import type { DeviceConfig } from './device.js';
import type { ErrorCode, SourceLocation } from './errors.js';
import type { NodeManifest } from './node.js';
import type { PortKind } from './ports.js';

export interface RecipeModel {
  readonly path?: string;
  readonly hub?: string;
  readonly revision?: string;
  /** Explicit program files; they win over what the model folder holds. */
  readonly programs?: { readonly vision?: string; readonly language?: string };
  /** Written by planning, not by recipes: the graph that a compiled vision program was made from, whose ports can be read. */
  readonly exported?: { readonly vision?: string };
}

export type InputType = 'image' | 'text' | 'messages';
export interface RecipeInput {
  readonly type: InputType;
  readonly description?: string;
  readonly default?: unknown;
  readonly many?: boolean;
  readonly required?: boolean;
}

export interface RecipeNode {
  readonly kind: string;
  readonly description?: string;
  readonly device?: string;
  readonly inputs?: Readonly<Record<string, string>>;
  readonly with?: Readonly<Record<string, unknown>>;
}

export interface Recipe {
  readonly version: 1;
  readonly name: string;
  readonly description?: string;
  readonly model: RecipeModel;
  readonly inputs: Readonly<Record<string, RecipeInput>>;
  readonly devices: Readonly<Record<string, DeviceConfig>>;
  readonly nodes: Readonly<Record<string, RecipeNode>>;
  readonly outputs: Readonly<Record<string, string>>;
}

/** Codes of recipe diagnostics: stable, documented in docs/errors.md. */
export const DIAGNOSTIC_CODES = [
  'E_READ',
  'E_SIZE',
  'E_ENCODING',
  'E_EMPTY',
  'E_YAML',
  'E_DUPLICATE_KEY',
  'E_ALIAS',
  'E_TAB',
  'E_VERSION',
  'E_SCHEMA',
  'E_UNKNOWN_KEY',
  'E_MISSING_KEY',
  'E_TYPE',
  'E_VALUE',
  'E_REFERENCE',
  'E_UNKNOWN_INPUT',
  'E_UNKNOWN_NODE',
  'E_UNKNOWN_PORT',
  'E_MISSING_PORT',
  'E_UNKNOWN_DEVICE',
  'E_UNKNOWN_KIND',
  'E_UNKNOWN_DEVICE_KIND',
  'E_MISSING_DEVICE',
  'E_CYCLE',
  'E_PORT_KIND',
  'E_PORT_MANY',
  'E_EXTENDS',
  'E_SET',
  'E_INPUT',
  'E_MODEL',
  'E_PLUGIN',
  'W_UNUSED_INPUT',
  'W_UNUSED_NODE',
  'W_UNUSED_DEVICE',
  'W_DEPRECATED',
  'W_CONTRADICTS_MODEL',
  'W_DEVICE_IGNORED',
] as const;
export type DiagnosticCode = (typeof DIAGNOSTIC_CODES)[number];

/** One problem of a recipe. Locations count from 1; `path` is the place in the document (`nodes.decode.with.ctx_len`). */
export interface Diagnostic {
  readonly severity: 'error' | 'warning';
  readonly code: DiagnosticCode;
  readonly message: string;
  readonly hint?: string;
  readonly path: string;
  readonly location?: SourceLocation & { readonly endColumn: number };
  /** The source line that the location points at. */
  readonly excerpt?: string;
}

/** A reference: `$inputs.image` or `$node.port`. */
export type Reference =
  | { readonly from: 'input'; readonly name: string }
  | { readonly from: 'node'; readonly node: string; readonly port: string };

/** A node of a plan: options complete, references resolved, in topological order. */
export interface PlanNode {
  readonly name: string;
  readonly description?: string;
  readonly manifest: NodeManifest;
  /** Absolute path of a plugin module, when `kind` names one. */
  readonly plugin?: string;
  readonly device: string | null;
  readonly inputs: Readonly<Record<string, Reference>>;
  /** `with:` of the recipe with the manifest's defaults filled in. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Which options the recipe (or --set) gave itself. */
  readonly given: readonly string[];
  /** Nodes that must be done before this one. */
  readonly after: readonly string[];
  /** Where the node stands in the file, for run errors. */
  readonly location?: SourceLocation;
  /** Where each given option stands (`ctx_len` -> location), for planning errors. */
  readonly optionLocations: Readonly<Record<string, SourceLocation>>;
}

/** The compiled recipe: plain data, JSON-serialisable. */
export interface Plan {
  readonly name: string;
  readonly description: string;
  /** Absolute path of the recipe file; relative paths in the recipe start from its folder. */
  readonly file: string;
  readonly recipe: Recipe;
  /** Absolute, resolved places of the model (hub references are resolved by src/model). */
  readonly model: RecipeModel;
  /** Where the recipe (or --set) names its model, for run errors. */
  readonly modelLocation?: SourceLocation;
  readonly inputs: Readonly<Record<string, PlanInput>>;
  readonly devices: Readonly<Record<string, DeviceConfig>>;
  readonly nodes: readonly PlanNode[];
  readonly outputs: Readonly<Record<string, { readonly ref: Reference; readonly kind: PortKind }>>;
}

export interface PlanInput {
  readonly name: string;
  readonly description?: string;
  readonly type: InputType;
  readonly many: boolean;
  readonly required: boolean;
  /** The recipe's default; relative image paths made absolute against the recipe's folder. */
  readonly default?: unknown;
}

/** Result of compiling: every problem, and the plan when there is no error. */
export interface Compilation {
  readonly plan: Plan | null;
  readonly diagnostics: readonly Diagnostic[];
  /** Texts the recipe was made of, so that later phases can show excerpts (`diagnosticAt` of src/recipe). */
  readonly sources?: readonly SourceText[];
}

/** A text that recipe values came from: a recipe file, one it extends, or one `--set` argument. */
export interface SourceText {
  readonly path: string;
  readonly text: string;
}

export type { ErrorCode };
