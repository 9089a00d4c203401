/** What a report says, before it is a page, a table or a list of values: plain data, made from stores alone. */

export type PointStatus = 'measured' | 'failed' | 'refused';

/**
 * `reference`: the others are compared with it. `unknown`: there is nothing to compare with. By tokens a point is `same`
 * or `differs`; by a score it is `same`, `other` (its tokens differ, its score does not fall) or `below`.
 */
export type Parity = 'reference' | 'same' | 'other' | 'differs' | 'below' | 'unknown';

export interface Figure {
  readonly value: number;
  /** 95 % bootstrap interval of the median, where the figure is a median. */
  readonly ci: readonly [number, number] | null;
}

export interface Metric {
  readonly key: string;
  readonly label: string;
  readonly unit: string;
  readonly better: 'low' | 'high';
}

export interface Axis {
  /** Parameter as the sweep file writes it. */
  readonly path: string;
  /** Short, and like no other axis's. */
  readonly name: string;
  /** In order, as text. */
  readonly values: readonly string[];
}

export interface Mark {
  readonly kind: 'reference' | 'differs' | 'below' | 'other' | 'unchecked' | 'wide' | 'emulated' | 'failed' | 'refused';
  readonly text: string;
}

export interface ReportPoint {
  readonly id: string;
  readonly index: number;
  /** Place of its store in `ReportModel.stores`. */
  readonly store: number;
  /** Values of the axes that differ, as one reads them. */
  readonly name: string;
  /** By the path of the axis; an axis that the point does not set is not there. */
  readonly values: Readonly<Record<string, string>>;
  readonly status: PointStatus;
  readonly parity: Parity;
  readonly marks: readonly Mark[];
  readonly figures: Readonly<Record<string, Figure>>;
  /** Lane to stage to milliseconds; of the whole process, loading and warm-up included. */
  readonly stages: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Items that these stages worked for; null where the row does not say. */
  readonly items: number | null;
  /** Among the points that no other one beats in both latency and throughput. */
  readonly front: boolean;
}

export interface ReportStore {
  readonly name: string;
  readonly sha256: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: Readonly<Record<string, string>>;
  readonly points: number;
}

export interface Problem {
  readonly where: string;
  readonly what: string;
}

export interface Counts {
  readonly points: number;
  readonly measured: number;
  readonly failed: number;
  readonly refused: number;
  /** Points of the sweep without a row, as far as the numbering of the rows tells. */
  readonly missing: number;
  readonly differs: number;
  readonly below: number;
  readonly unchecked: number;
  readonly wide: number;
  readonly emulated: number;
}

export interface View {
  readonly x: string | null;
  readonly y: string | null;
  readonly metric: string;
}

export interface ReportModel {
  readonly format: 1;
  readonly title: string;
  readonly description: string;
  /** Version of vlm-run that made the report. */
  readonly tool: string;
  /** Start of the first and of the last point that ran. */
  readonly from: string | null;
  readonly to: string | null;
  readonly stores: readonly ReportStore[];
  readonly measure: Readonly<Record<string, string>>;
  /** How points are judged, where that is a score and not their tokens. */
  readonly score: Readonly<Record<string, string>> | null;
  readonly recipe: { readonly name: string; readonly sha256: string; readonly yaml: string };
  readonly counts: Counts;
  /** Those with more than one value. */
  readonly axes: readonly Axis[];
  /** Parameters that all points share. */
  readonly constants: Readonly<Record<string, string>>;
  readonly metrics: readonly Metric[];
  /** Keys of the two metrics of the front. */
  readonly pareto: { readonly latency: string; readonly throughput: string };
  readonly view: View;
  readonly points: readonly ReportPoint[];
  readonly problems: readonly Problem[];
}
