export { Drafting, type DraftSession, type DraftSource } from './drafting.js';
