export type { BoxConvention } from './box-reader.js';
export type { Grounder, GroundingRequest, WrittenToken } from './grounder.js';
export { boxArea, boxToPixels, clampBox, intersectionOverUnion } from './region.js';
export { createTextGrounder } from './text-grounder.js';
