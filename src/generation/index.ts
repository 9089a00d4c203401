export { checkRequest } from './checks.js';
export { generate } from './generate.js';
export { Filter, Sampler } from './sampling.js';
export * from './types.js';
