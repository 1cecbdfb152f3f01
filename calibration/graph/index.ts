export type * from './architecture.js';
