export type * from './engine.js';
export type * from './options.js';
